"""Gradient difference."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat

from expunge.methods.base import Method, Needs
from expunge.tasks.base import Loss, Step


class GradientDifference(Method):
    r"""Gradient difference (Liu, Liu and Stone 2022, arXiv:2203.12817; Maini et al. 2024, arXiv:2401.06121, section 4).

    $$L = -\gamma \, \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_\theta(y \mid x)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    Ascends on the forget set while descending on the retain set. The forget part has no bound, so a stop belongs to it:
    `training.stop_forget_loss` ends the training; `forget_limit` m puts min(m, .) around the forget set's mean, so that
    a forget set lost so far is left alone while the retain set goes on being repaired.
    """

    forget_weight: PositiveFloat = 1.0
    "gamma; 1 in the TOFU paper's section 4"
    forget_limit: PositiveFloat | None = None
    "nats a token from which the forget loss stops pushing; none in the papers"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the TOFU paper's section 4"

    retain_target: Literal["text", "base"] = "text"
    "what the retain loss asks for: the text itself, or what the base model said there (KL, the TOFU paper's variant)"

    needs: ClassVar[Needs] = Needs(labels="true", retain="weighted")

    def loss(self, step: Step) -> Loss:
        nll = step.nll(step.forget)
        if self.forget_limit is not None:
            nll = nll.clamp(max=self.forget_limit * step.share(step.forget))
        forget = -self.forget_weight * nll
        if not self.draws_retain:
            return Loss(forget=forget)
        return Loss(forget=forget, retain=self.retain_weight * step.nll(step.retain))
