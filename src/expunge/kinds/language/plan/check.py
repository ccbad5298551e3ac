"""Check whether a run fits into this machine's memory before the first weight is loaded, and estimate its work."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from expunge.core.processes import asked_to_spread, count, is_first
from expunge.errors import ExpungeError, RunError, first_line
from expunge.kinds.language.plan.announced import Announced, amounts_by_size, announced
from expunge.kinds.language.plan.devices import FSDP, Device, this_machine
from expunge.kinds.language.plan.model import in_folder
from expunge.kinds.language.plan.options import typed
from expunge.kinds.language.plan.stages import Stage
from expunge.kinds.language.plan.tried import NOT_TRIED, ONE, Maker
from expunge.kinds.language.plan.words import gib
from expunge.kinds.language.recipe import Recipe
from expunge.models.source import ModelSource
from expunge.models.weights import weight_files
from expunge.ops.quantised import NoMatricesError, has_bitsandbytes
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method

SMALLEST = 64 << 20
"bytes of weights from which a run is planned: smaller models fit on any machine that runs torch"


@dataclass(frozen=True, slots=True)
class Planned:
    """The stage that takes the most memory, on this machine; `seconds` is the time to find it.

    Attributes:
        why: why it is unknown, if so.
        work: the work of the whole run; None if it is unknown.
    """

    device: Device
    most: Stage | None
    seconds: float
    why: str = ""
    work: Announced | None = None

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
            **({} if self.work is None else self.work.row()),
        )
        run.show.say(
            f"memory: {gib(peak)} at most, while {self.most.name}; available are {there} (expunge plan shows more)"
        )
        if self.work is not None:
            run.show.say(self.work.words())
        if free is not None and peak > free:
            run.show.say(
                "that is more than is free now: end other programs, or see expunge plan for options that take less"
            )


def check_memory(recipe: Recipe, source: ModelSource, tokenizer: Callable[[], Any] | None = None) -> Planned | None:
    """What the run takes; None for small models, and on all processes but the first.

    Args:
        tokenizer: gives the model's; without it 4 characters are a token.

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
        model, amounts = in_folder(source.folder, source.name), None
        with suppress(Exception):  # files that cannot be read: the run raises their error
            amounts = amounts_by_size(recipe, model, tokenizer)
        maker = Maker(recipe, model, make_method(recipe.method, "causal_lm"), device, amounts or (ONE, ONE))
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
        work = None if amounts is None else announced(device, given, model)
        return Planned(device, most, _since(begun), work=work)
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


def planned_for(folder: RunFolder) -> dict[str, Any]:
    """For a run's record: what was announced when it began, under "planned"; empty if nothing was."""
    events = [event for event in folder.read_events("plan") if "run_seconds" in event]
    names = ("peak_bytes", "run_seconds", "tokens", "flops", "disk_bytes", "speed", "stages")
    return {"planned": {name: events[0].get(name) for name in names}} if events else {}


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
