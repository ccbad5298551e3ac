"""One phase of training a classifier, as a method describes it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How one phase of training goes.

    Attributes:
        name: says which phase it is, in logs, draws and checkpoints; unique in a method.
        epochs: passes over the phase's pictures; parts of a pass are possible.
        schedule: of the learning rate: constant; cosine or linear, from `learning_rate` to `final_rate`.
        warmup: share of the steps over which the rate rises from 0.
        mode: "train" lets batch normalisation follow the batches; "eval" holds its running figures.
    """

    name: str
    epochs: float
    learning_rate: float
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    batch_size: int = 64
    schedule: Literal["constant", "cosine", "linear"] = "constant"
    final_rate: float = 0.0
    warmup: float = 0.0
    mode: Literal["train", "eval"] = "train"

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        share = (step - rising) / max(1, steps - rising)
        falling = (1 + math.cos(math.pi * share)) / 2 if self.schedule == "cosine" else 1 - share
        return self.final_rate + (self.learning_rate - self.final_rate) * falling
