from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs, Wanted
from expunge.train.step import Loss, Step

LEAST_NLL = 1e-6
"nats added to a token's loss, so that log(1 - p) of a certain token is finite"


class GradientDifference(Method):
    r"""Gradient difference (Liu, Liu and Stone 2022, arXiv:2203.12817; Maini et al. 2024, arXiv:2401.06121, section 4).

    $$L = -\gamma \, \frac{1}{|F|} \sum_{(x, y) \in F} \min(m, -\log p_\theta(y \mid x))
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    Ascends on the forget set while descending on the retain set. In the papers the forget part has no bound (m
    infinite): the less likely a token already is, the harder it pushes: what is long forgotten continues to harm the
    rest, while what is still known by heart hardly pushes. A limit m leaves a token alone once it costs m nats, and the
    retain set is still repaired: `forget_limit` is one for all tokens, `surprise_share` s makes it s times what the
    token would cost without any context, so that common words such as "the" are not unlearned.
    `training.stop_forget_loss` ends the training instead. `forget_loss: unlikelihood` uses -log(1 - p) instead of log p
    (Welleck et al. 2019, arXiv:1908.04319): what is known by heart pushes hardest, what is forgotten does not push.
    `log_odds` is the sum of both: every token pushes its own logit equally hard until its limit, and the others rise in
    proportion to what they were. With `retain_target: base` the KL divergence is averaged over labelled tokens; in
    TOFU's code over prompts and padding, too.
    """

    forget_weight: PositiveFloat = 1.0
    "gamma; 1 in the TOFU paper's section 4"
    forget_loss: Literal["likelihood", "unlikelihood", "log_odds"] = "likelihood"
    "what is lowered on the forget set: log p, as in the papers; -log(1 - p); or log p - log(1 - p)"
    forget_limit: PositiveFloat | None = None
    "m: nats at which a forgotten token stops pushing; none in the papers"
    surprise_share: PositiveFloat | None = None
    "share of a token's surprise without context (-log of its frequency) at which it stops pushing; none in the papers"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the TOFU paper's section 4"

    retain_target: Literal["text", "base", "cleared"] = "text"
    "the text itself; the base model's outputs (KL, TOFU's variant); or cleared: those, without the target's own terms"

    needs: ClassVar[Needs] = Needs(retain="weighted")

    def wants(self) -> Sequence[Wanted]:
        return () if self.surprise_share is None else ("surprise",)

    @property
    def diverges(self) -> bool:
        """Ascent on the likelihood or its odds, without a limit; ascent on the unlikelihood ends once nothing is
        likely."""
        return self.forget_loss != "unlikelihood" and self.forget_limit is None and self.surprise_share is None

    def loss(self, step: Step) -> Loss:
        ceiling: float | Tensor | None = self.forget_limit
        if self.surprise_share is not None:
            share: Tensor = self.surprise_share * step.signal("surprise")
            ceiling = share if self.forget_limit is None else share.clamp(max=self.forget_limit)
        if self.forget_loss != "likelihood":
            nll = step.row_nll(step.forget)
            losses = -torch.log(-torch.expm1(-(nll + LEAST_NLL)))
            losses = losses - nll if self.forget_loss == "log_odds" else losses
            if ceiling is not None:
                losses = torch.where(nll < ceiling, losses, 0.0)
            forget = self.forget_weight * step.row_mean(step.forget, losses)
        else:
            forget = -self.forget_weight * step.nll(step.forget, ceiling=ceiling)
        return self.with_retain(step, forget)
