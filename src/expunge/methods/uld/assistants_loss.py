"""The loss of ULD's assistant."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat

from expunge.methods.me_gd import from_uniform
from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class AssistantsLoss(Method):
    """Remember the forget set, and be uniform on the retain set: see `ULD`."""

    retain_weight: NonNegativeFloat = 5.0
    "beta"

    needs: ClassVar[Needs] = Needs(retain="always", retain_labels=False, kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        uniform = step.row_mean(step.retain, step.row_values(step.retain, lambda log_p, *_: from_uniform(log_p)))
        return Loss(forget=step.nll(step.forget), retain=self.retain_weight * uniform)
