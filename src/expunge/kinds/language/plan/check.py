"""Check whether a run fits into this machine's memory before the first weight is loaded."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from expunge.core.processes import asked_to_spread, count, is_first
from expunge.errors import ExpungeError, RunError, first_line
from expunge.kinds.language.plan.devices import FSDP, Device, this_machine
from expunge.kinds.language.plan.model import in_folder
from expunge.kinds.language.plan.options import typed
from expunge.kinds.language.plan.stages import Stage
from expunge.kinds.language.plan.tried import NOT_TRIED, Maker
from expunge.kinds.language.plan.words import gib
from expunge.kinds.language.recipe import Recipe
from expunge.models.source import ModelSource
from expunge.models.weights import weight_files
from expunge.ops.quantised import NoMatricesError, has_bitsandbytes
from expunge.runs.context import Run
from expunge.runs.registry import make_method

SMALLEST = 64 << 20
"bytes of weights from which a run is planned: smaller models fit on any machine that runs torch"


@dataclass(frozen=True, slots=True)
class Planned:
    """The stage that takes the most memory, on this machine; `seconds` is the time to find it.

    Attributes:
        why: why it is unknown, if so.
    """

    device: Device
    most: Stage | None
    seconds: float
    why: str = ""

    def announce(self, run: Run[Recipe]) -> None:
        """Show it, and log it as event "plan"."""
        if self.most is None:
            run.folder.log("plan", peak_bytes=None, reason=self.why, seconds=self.seconds)
            return
        peak, free = self.most.peak * _sharing(self.device), self.device.free
        there = f"{gib(self.device.memory)}" + ("" if free is None else f", {gib(free)} of them free")
        run.folder.log(
            "plan",
            peak_bytes=peak,
            stage=self.most.name,
            memory_bytes=self.device.memory,
            free_bytes=free,
            seconds=self.seconds,
        )
        run.show.say(
            f"memory: {gib(peak)} at most, while {self.most.name}; available are {there} (expunge plan shows more)"
        )
        if free is not None and peak > free:
            run.show.say(
                "that is more than is free now: end other programs, or see expunge plan for options that take less"
            )


def check_memory(recipe: Recipe, source: ModelSource) -> Planned | None:
    """The most that the run takes; None for small models, and on all processes but the first.

    Raises:
        RunError: that is more than all memory of this machine's device; names the options with which it fits.
        NoMatricesError: the recipe wants weights in 8 or 4 bits, and the model has none that can be.
    """
    stored = sum(file.stat().st_size for file in weight_files(source.folder))
    if not is_first() or stored < SMALLEST:
        return None
    begun = time.monotonic()
    device = replace(this_machine(), count=count(), fsdp=_fsdp())
    device = replace(device, usable=device.memory // _sharing(device))
    try:
        maker = Maker(recipe, in_folder(source.folder, source.name), make_method(recipe.method, "causal_lm"), device)
        # An adapter trains in less memory than the whole model.
        maker.reinforces &= recipe.training.adapter_rank is not None or not recipe.reinforcement.adapter
        given = maker.made({})
    except NoMatricesError:
        raise
    except ExpungeError as error:
        return Planned(device, None, _since(begun), error.what)
    except Exception as error:  # a model that torch or transformers cannot build without values: the run will show
        return Planned(device, None, _since(begun), first_line(error))
    most = max(given.stages, key=lambda stage: stage.peak)
    if given.fits:
        return Planned(device, most, _since(begun))
    tried = maker.search(given)
    where = "on this machine's processor" if device.main_memory else f"on {device.name}"
    raise RunError(
        f"this run does not fit into memory {where}",
        seen=f"{gib(most.peak * _sharing(device))} while {most.name}",
        allowed=f"{gib(device.memory)}",
        next_step=f"give {typed(tried[-1].fields)}: it takes {gib(tried[-1].peak)} then"
        if tried[-1].fits
        else "give a smaller model, or a machine with more memory: expunge plan --device NAME shows what fits where"
        + ("" if has_bitsandbytes() else f"; {NOT_TRIED}"),
    )


def _fsdp() -> FSDP | None:
    """How weights are sharded, from Accelerate's configuration."""
    if not asked_to_spread():
        return None
    return "offload" if os.environ.get("FSDP_OFFLOAD_PARAMS", "").lower() in ("true", "1") else "shard"


def _sharing(device: Device) -> int:
    """Processes that share a device's memory."""
    return device.count if device.main_memory else 1


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 2)
