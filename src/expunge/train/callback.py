"""Callbacks: what happens around the steps of the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(slots=True)
class Report:
    """One optimizer step.

    Attributes:
        step, steps: which step it is, from 1, and how many the whole phase has.
        last: whether the phase ends with it.
        rate: the learning rate.
        sizes: what was seen of each stream: tokens, or pictures.
        seconds: that the step took.
        figures: "loss", "grad_norm" where gradients are clipped, and whatever the loss adds; sums over its batches.
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
    """Base of callbacks: each overrides what it needs. They are called in the order in which the loop is given them.

    Attributes:
        name: of its state in checkpoints; a callback without a name has none.
    """

    name = ""

    def begin(self, step: int) -> None:
        """Before the first step of this process: 0, or where a checkpoint stands."""

    def before_epoch(self, epoch: int) -> None:
        """Before the first step of an epoch, the model in the phase's mode; a mode that is changed has to be put back."""

    def after_backward(self) -> None:
        """May change gradients, before they are clipped."""

    def before_update(self, report: Report) -> None:
        """Before weights are changed: the last moment to raise."""

    def after_step(self, report: Report) -> None:
        """May change weights; runs without gradients."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps, as JSON."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a saved `state`."""


@dataclass(slots=True, kw_only=True)
class Hooks(Callback):
    """Functions as a callback.

    Attributes:
        eval_modules: modules held in evaluation mode, so that running statistics of frozen ones stay as they are.
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
