"""A plan in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from expunge.kinds.language.plan.options import typed

if TYPE_CHECKING:
    from expunge.kinds.language.plan.plan import Plan

SMALL = 2**27
"bytes below which MiB are used"
UNKNOWN_SPEED = "its speed is not known: give --rate FLOPS, or a --device that is known (docs/scale.md)"


def gib(size: int) -> str:
    """Bytes for a reader."""
    return f"{size / 2**30:,.1f} GiB" if size >= SMALL else f"{size / 2**20:,.1f} MiB"


def scientific(number: float) -> str:
    """A large number for a reader."""
    return f"{number:.2g}".replace("e+", "e")


def duration(seconds: float | None) -> str:
    """Seconds for a reader."""
    if seconds is None:
        return "not known"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def head(plan: Plan) -> str:
    """The planned run and its device."""
    device = plan.device
    trained = "all trained" if plan.trained == plan.weights else f"{plan.trained / 1e6:,.1f} million trained"
    cards = f"{device.count} cards of " if device.count > 1 else ""
    places = 1 if device.speed and device.speed < 1e10 else 0
    speed = UNKNOWN_SPEED if device.speed is None else f"{device.speed / 1e9:,.{places}f} GFLOP/s ({device.source})"
    return (
        f"{plan.model}, {plan.method}: {plan.weights / 1e6:,.1f} million parameters, {trained}, {plan.steps} steps\n"
        f"on {device.name}: {cards}{gib(device.memory)}, of which {gib(device.usable)} can be used; {speed}\n"
    )


def verdict(plan: Plan) -> str:
    """Whether it fits, and what to type so that it does."""
    took = f"Peak memory {gib(plan.peak)}" + (" a card" if plan.device.count > 1 else "")
    time = f", {duration(plan.seconds)} in all" if plan.seconds is not None else ""
    if plan.fits == {}:
        free = plan.device.free
        short = free is not None and plan.peak > free
        return f"{took}{time}: it fits" + (f", once more than the current {gib(free or 0)} is free" if short else "")
    if plan.fits is None:
        return f"{took}: it does not fit, and no known option makes it fit; the least is {gib(plan.fitting)}"
    return f"{took}: it does not fit. With these options it takes {gib(plan.fitting)}:\n  {typed(plan.fits)}"
