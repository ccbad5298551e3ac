from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(rows,) Jensen-Shannon divergence in nats of distributions given as logarithms, both (rows, classes)."""
    log_m = torch.logaddexp(log_p, log_q) - torch.log(torch.tensor(2.0, dtype=log_p.dtype))

    def divergence(log_a: Tensor) -> Tensor:
        gap = torch.where(log_a.isneginf(), 0.0, log_a - log_m)
        return (log_a.exp() * gap).sum(-1)

    return (divergence(log_p) + divergence(log_q)) / 2


class JensUn(Method):
    r"""JensUn (Singh, Müller, Croce and Hein 2025, arXiv:2509.02820): bounded divergences on both sides.

    $$L = \lambda_F \frac{1}{|F|} \sum_{x \in F} \mathrm{JSD}\left(p_\theta(\cdot \mid x) \,\|\, q\right)
          + \lambda_R \frac{1}{|R|} \sum_{x \in R}
            \mathrm{JSD}\left(p_\theta(\cdot \mid x) \,\|\, p_{\mathrm{ref}}(\cdot \mid x)\right)$$

    The forget set's outputs go to a fixed distribution q, the retain set's stay the original's; neither part
    exceeds log 2. In the paper q is a refusal's tokens; here it is `forget_target`: uniform over the classes, which
    carries no information, or one class (the authors' target is a sequence of tokens). p_ref is the original model's
    distribution over all classes; of a language model over its whole vocabulary, made of stored hidden states and a
    copy of its head. So the retain part is 0, with gradient 0, as long as the model is the original.
    """

    forget_weight: PositiveFloat = 1.0
    "lambda_F; in the paper it is tuned with lambda_R"
    retain_weight: NonNegativeFloat = 1.0
    "lambda_R; in the paper it is tuned with lambda_F"
    forget_target: Literal["uniform"] | int = "uniform"
    "q: uniform, or the number of a class (a token's id) that takes all the mass"
    retain_target: Literal["base"] = "base"
    "p_ref: the model's outputs before unlearning"

    needs: ClassVar[Needs] = Needs(retain="weighted", retain_labels=False)
    signals = ("distributions",)

    def loss(self, step: Step) -> Loss:
        apart = step.row_values(step.forget, lambda log_p: jensen_shannon(log_p, self._target(log_p)))
        forget = self.forget_weight * step.row_mean(step.forget, apart)
        if not self.draws_retain:
            return Loss(forget=forget)
        forget = step.before_next(forget)
        moved = step.against_original(step.retain, jensen_shannon)
        return Loss(forget=forget, retain=self.retain_weight * step.row_mean(step.retain, moved))

    def _target(self, log_p: Tensor) -> Tensor:
        """(rows, classes) log q."""
        if self.forget_target == "uniform":
            return torch.full_like(log_p, -math.log(log_p.shape[-1]))
        log_q = torch.full_like(log_p, -torch.inf)
        log_q[:, self.forget_target] = 0.0
        return log_q
