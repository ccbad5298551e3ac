"""Gradient difference."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat

from expunge.methods.base import Method, Needs
from expunge.tasks.base import Loss, Step


class GradientDifference(Method):
    r"""Gradient difference (Liu, Liu and Stone 2022, arXiv:2203.12817; Maini et al. 2024, arXiv:2401.06121, section 4).

    $$L = -\gamma \, \frac{1}{|F|} \sum_{(x, y) \in F} \min(m, -\log p_\theta(y \mid x))
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    Ascends on the forget set while descending on the retain set. In the papers the forget part has no bound (m infinite):
    a token pushes the harder the less likely it already is, so what is long forgotten goes on to harm the rest, while
    what is still known by heart hardly pushes at all. `forget_limit` m leaves a token alone once it costs m nats, and the
    retain set goes on being repaired; `training.stop_forget_loss` ends the training instead.
    """

    forget_weight: PositiveFloat = 1.0
    "gamma; 1 in the TOFU paper's section 4"
    forget_limit: PositiveFloat | None = None
    "m: nats at which a forgotten token stops pushing; none in the papers"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the TOFU paper's section 4"

    retain_target: Literal["text", "base"] = "text"
    "what the retain loss asks for: the text itself, or what the base model said there (KL, the TOFU paper's variant)"

    needs: ClassVar[Needs] = Needs(labels="true", retain="weighted")

    def loss(self, step: Step) -> Loss:
        forget = -self.forget_weight * step.nll(step.forget, ceiling=self.forget_limit)
        if not self.draws_retain:
            return Loss(forget=forget)
        return Loss(forget=forget, retain=self.retain_weight * step.nll(step.retain))
