"""Plan a run on a device, and find the cheapest options with which it fits there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from expunge.kinds.language.limits import positions
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.plan.audit import audit_stages
from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.disk import disk
from expunge.kinds.language.plan.model import PlannedModel, forget_amount, planned_model, retain_amount
from expunge.kinds.language.plan.options import typed, with_fields
from expunge.kinds.language.plan.rate import with_speed
from expunge.kinds.language.plan.stages import Stage
from expunge.kinds.language.plan.tried import NOT_TRIED, Maker
from expunge.kinds.language.recipe import Recipe
from expunge.ops.quantised import has_bitsandbytes
from expunge.runs.registry import make_method


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of a run.

    Attributes:
        weights, trained: number of the model's weights.
        stages: in order.
        audit: the cost of `expunge audit` of the run: its measures, then each attack; not part of the run.
        disk: bytes by purpose.
        steps: steps of the unlearning.
        fits: options with which it fits, None if none do; empty if it fits as it is.
        fitting: peak bytes with these options; the least found if none fit.
        notes: notes for readers.
    """

    device: Device
    model: str
    method: str
    weights: int
    trained: int
    stages: list[Stage]
    disk: dict[str, int]
    steps: int
    fits: dict[str, Any] | None
    fitting: int
    notes: list[str]
    audit: list[Stage]

    @property
    def peak(self) -> int:
        """Peak bytes on one device, over all stages."""
        return max(stage.peak for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """Seconds of all stages; None if the device's speed is unknown."""
        each = [stage.seconds(self.device) for stage in self.stages]
        return None if None in each else sum(value for value in each if value is not None)

    @property
    def audit_seconds(self) -> float | None:
        """Seconds of the whole audit; None if the device's speed is unknown."""
        each = [stage.seconds(self.device) for stage in self.audit]
        return None if None in each else sum(value for value in each if value is not None)

    def row(self) -> dict[str, Any]:
        """As JSON."""
        device = self.device
        return {
            "model": self.model,
            "method": self.method,
            "parameters": self.weights,
            "trained_parameters": self.trained,
            "steps": self.steps,
            "peak_bytes": self.peak,
            "device": {
                "name": device.name,
                "count": device.count,
                "memory_bytes": device.memory,
                "usable_bytes": device.usable,
                "free_bytes": device.free,
                "flops_a_second": device.speed,
                "source": device.source,
            },
            "fits": self.fits == {},
            "options": self.fits,
            "peak_bytes_with_options": self.fitting,
            "seconds": self.seconds,
            "stages": [stage.row(device) for stage in self.stages],
            "audit": [stage.row(device) for stage in self.audit],
            "audit_seconds": self.audit_seconds,
            "disk_bytes": self.disk,
            "notes": self.notes,
        }


def make_plan(recipe: Recipe, device: Device, model: PlannedModel | None = None) -> Plan:
    """Plan a run of a recipe; no weight is loaded, and no text is sampled from a model.

    Args:
        model: the recipe's, if it was found before.

    Raises:
        ModelError: there is no such model.
        NotPlannedError: a step of it depends on values.
    """
    recipe = resolve_paths(recipe)
    model = model or planned_model(recipe.model, recipe.revision)
    method = make_method(recipe.method, "causal_lm")
    notes = []
    if (limit := positions(model.kind.config)) is not None and recipe.data.block_size > limit:
        recipe = with_fields(recipe, {"data.block_size": limit})
        notes.append(f"blocks have {limit} tokens: the model takes no more")
    if not method.has_loss():
        name = recipe.method["name"]
        notes.append(
            f"{name} has phases of its own: it is planned as one training on its set, and may hold further copies"
        )
    amounts = forget_amount(recipe, model), retain_amount(recipe, model)
    notes += [f"forget set: {amounts[0].how}", f"retain set: {amounts[1].how}"]
    maker = Maker(recipe, model, method, device, amounts)
    given = maker.made({})
    if device.rate is None and device.free is not None:  # this machine
        device = with_speed(device, given.work.setting)
    tried = [given] if given.fits else maker.search(given)
    best = tried[-1] if tried[-1].fits else min(tried, key=lambda each: each.peak)
    if not best.fits:
        notes.append(f"the least was with {typed(best.fields) or 'the options given'}")
        if not has_bitsandbytes():
            notes.append(NOT_TRIED)
    return Plan(
        device=device,
        model=model.name,
        method=str(recipe.method["name"]),
        weights=maker.look.numbers["weights"],
        trained=given.work.step.numbers["trained"],
        stages=given.stages,
        disk=disk(given.work, model),
        steps=given.work.steps(),
        fits=best.fields if best.fits else None,
        fitting=best.peak,
        notes=notes,
        audit=audit_stages(model, given.work),
    )
