from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import Tensor

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


def without_label(log_p: Tensor, target: Tensor) -> Tensor:
    """(rows,) cross-entropy of the distributions with themselves without their labels; the target has no gradient."""
    others = log_p.detach().scatter(1, target[:, None], -torch.inf).softmax(-1)
    return -(others * log_p).sum(-1)


class CEU(Method):
    r"""CE-U, cross-entropy unlearning (Yang 2025, arXiv:2503.01224).

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F, \, t(y) > n} -\sum_{v \ne y}
          \left[\frac{p_\theta(v \mid x)}{1 - p_\theta(y \mid x)}\right]_{\text{fixed}} \log p_\theta(v \mid x)
          + \alpha \, \ell_R$$

    $$\ell_R = \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    The model learns its own output with the true token removed: a cross-entropy with its own distribution, whose
    target has no gradient. The gradient at the true token's logit is p, so what is known by heart is
    pushed hardest and what is forgotten is not pushed; gradient ascent has 1 - p there. No reference and, in the paper,
    no retain set. t(y) is the place of a token in its example: the first n are left out, since the opening of an answer
    gives away nothing yet. The mean is over all labelled tokens; OpenUnlearning's is over the remaining ones, which for
    answers of m tokens is m / (m - n) times as large.
    """

    skip_first: NonNegativeInt = 1
    "n: first tokens of each answer that are left out; 1 in the paper"
    retain_weight: NonNegativeFloat = 0.0
    "alpha; 0 in the paper, which uses no retain set"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        losses = step.row_values(step.forget, without_label, labels=True)
        forget = step.row_mean(step.forget, torch.where(self.behind(step, losses), losses, 0.0))
        return self.with_retain(step, forget)

    def behind(self, step: Step, losses: Tensor) -> Tensor:
        """(rows,) whether a row comes after the first n of its example."""
        counts = step.example_rows(step.forget).long()
        starts = torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        return torch.arange(len(losses), device=losses.device) - starts >= self.skip_first
