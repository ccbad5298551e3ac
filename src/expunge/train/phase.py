"""One phase of training: steps, learning rate, optimizer. The same for every kind of model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from expunge.errors import RecipeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Settings of one phase of training.

    Attributes:
        name: its name in logs, draws and checkpoints; unique in a method.
        epochs: passes over the phase's dataset; parts of a pass are possible.
        steps: this many optimizer steps instead of `epochs`.
        stop_step: end after this step, with the learning rates of all steps.
        accumulate: batches in an optimizer step.
        schedule: of the learning rate: constant; cosine or linear, from `learning_rate` to `final_rate`.
        warmup: share of the steps over which the rate rises from 0.
        part: the part of the whole schedule, from 0 to 1, that this phase covers: so that a schedule can span
            several phases.
        paired_batch_size: of the paired dataset, if there is one; default: `batch_size`.
        continues: phases with the same word here share their momentum (or Adam's averages), as if one
            optimizer served them all; they train the same parameters.
        betas: of Adam: how much of its averages of gradients and of their squares is kept in a step.
        max_grad_norm: gradients are clipped to this norm, if given.
        mode: "train" lets batch normalisation follow the batches; "eval" keeps its running statistics.
        save_every: steps after which a checkpoint may be written; default: between epochs.
        stream: names what is drawn in a step, such as dropout; default: `name/step`.
    """

    name: str
    learning_rate: float
    epochs: float = 1.0
    optimizer: Literal["sgd", "adam", "adamw", "adamw_8bit"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 64
    accumulate: int = 1
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    final_rate: float = 0.0
    warmup: float = 0.0
    part: tuple[float, float] = (0.0, 1.0)
    steps: int | None = None
    stop_step: int | None = None
    paired_batch_size: int | None = None
    continues: str = ""
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float | None = None
    mode: Literal["train", "eval"] = "train"
    save_every: int | None = None
    stream: str = ""

    def planned(self, batches_per_epoch: int, processes: int = 1) -> int:
        """Optimizer steps of the whole phase."""
        return self.steps or max(1, round(self.epochs * batches_per_epoch / (self.accumulate * processes)))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        share = self.part[0] + (self.part[1] - self.part[0]) * (step - rising) / max(1, steps - rising)
        if self.schedule == "cosine":
            return self.final_rate + (self.learning_rate - self.final_rate) * (1 + math.cos(math.pi * share)) / 2
        return self.learning_rate * (1 - (1 - self.final_rate / (self.learning_rate or 1.0)) * share)

    def by_epoch(self, rates: Sequence[float]) -> list[Phase]:
        """A phase an epoch at these constant rates with one optimizer: schedules that move between epochs only."""
        return [
            replace(
                self,
                name=f"{self.name} {epoch}",
                epochs=1,
                learning_rate=rate,
                schedule="constant",
                continues=self.name,
            )
            for epoch, rate in enumerate(rates, 1)
        ]


def again(
    original: Phase | None, name: str, epochs: float | None, learning_rate: float | None, batch_size: int | None
) -> Phase:
    """The phase that a model was trained with, under another name, with the given changes.

    Raises:
        RecipeError: how it was trained is unknown, and not fully given.
    """
    if original is None:
        if epochs is None or learning_rate is None:
            raise RecipeError(
                "how the model was trained is unknown, so it cannot be trained so again",
                next_step="give --method.epochs and --method.learning_rate",
            )
        original = Phase(name=name, epochs=epochs, learning_rate=learning_rate, schedule="cosine")
    changes = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    given: dict[str, Any] = {field: value for field, value in changes.items() if value is not None}
    return replace(original, name=name, **given)


def cosine(rate: float, epochs: int) -> list[float]:
    """The rate of each epoch: half a cosine from `rate` towards 0, as `CosineAnnealingLR` has it when moved by
    epoch."""
    return [rate * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]
