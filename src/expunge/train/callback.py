"""Callbacks around the steps of the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(slots=True)
class Report:
    """One optimizer step.

    Attributes:
        step, steps: its number, from 1, and the number in the whole phase.
        last: whether the phase ends with it.
        rate: the learning rate.
        sizes: tokens or pictures seen of each stream.
        seconds: duration of the step.
        figures: "loss", "grad_norm" if gradients are clipped, and further ones of the loss; sums over its batches.
        stop: a callback sets it to the reason why the training should end here.
    """

    step: int
    steps: int
    last: bool
    rate: float
    sizes: tuple[int, ...]
    seconds: float
    figures: dict[str, float]
    stop: str = ""

    @property
    def ends(self) -> bool:
        return self.last or bool(self.stop)


class Callback:
    """Base of callbacks: each overrides what it needs. They are called in the loop's order.

    Attributes:
        name: of its state in checkpoints; a callback without a name has none.
    """

    name = ""

    def begin(self, step: int) -> None:
        """Called before the first step of this process: 0, or a checkpoint's step."""

    def before_epoch(self, epoch: int) -> None:
        """Before the first step of an epoch, the model in the phase's mode; a changed mode has to be restored."""

    def after_backward(self) -> None:
        """May change gradients, before they are clipped."""

    def before_update(self, report: Report) -> None:
        """Called before weights are changed: the last chance to raise."""

    def after_step(self, report: Report) -> None:
        """May change weights; runs without gradients."""

    def state(self) -> dict[str, Any]:
        """State for a checkpoint, as JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""


@dataclass(slots=True, kw_only=True)
class Hooks(Callback):
    """Functions as a callback.

    Attributes:
        eval_modules: modules kept in evaluation mode, so that running statistics of frozen ones do not change.
    """

    on_epoch: Callable[[int], None] | None = None
    on_backward: Callable[[], None] | None = None
    on_step: Callable[[], None] | None = None
    eval_modules: Sequence[nn.Module] = ()

    def before_epoch(self, epoch: int) -> None:
        if self.on_epoch is not None:
            self.on_epoch(epoch)
        for module in self.eval_modules:
            module.eval()

    def after_backward(self) -> None:
        if self.on_backward is not None:
            self.on_backward()

    def after_step(self, report: Report) -> None:
        if self.on_step is not None:
            self.on_step()
