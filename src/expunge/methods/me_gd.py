from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.methods.entropy_term import entropy
from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


def from_uniform(log_p: Tensor) -> Tensor:
    """(rows,) KL(uniform || p) in nats, of (rows, classes) log-probabilities."""
    return -log_p.mean(-1) - math.log(log_p.shape[-1])


def lost_entropy(log_p: Tensor) -> Tensor:
    """(rows,) KL(p || uniform) in nats: the distance of the entropy to its maximum."""
    return math.log(log_p.shape[-1]) - entropy(log_p)


class MeGD(Method):
    r"""ME+GD: maximal entropy on the forget set, gradient descent on the retain set (Yuan et al. 2024, arXiv:2410.08109).

    $$L = \lambda \, \frac{1}{|F|} \sum_{x \in F} \mathrm{KL}\left(u \,\|\, p_\theta(\cdot \mid x)\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x), \qquad u(v) = \frac{1}{|V|}$$

    The forget set's outputs go to the uniform distribution over the vocabulary, whatever the true tokens are. The loss
    is bounded below by 0, at the uniform output. u comes first as in the authors' code; `toward: entropy` has the
    divergence the other way round, log |V| less the entropy, which has almost no gradient if the model is certain.

    In the authors' runs on TOFU the first mean is over questions and padding, too, up to 500 tokens a row: for rows of
    64 prompt and 30 answer tokens 6 % of the positions are of the answer, which is part of why their lambda is so
    small.
    """

    forget_weight: PositiveFloat = 0.1
    "lambda; 0.1 in the authors' code for TOFU, 0.5 for real people"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the authors' code"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, or the base model's outputs"
    toward: Literal["uniform", "entropy"] = "uniform"
    "KL(uniform || p), as in the authors' code, or KL(p || uniform), which is the entropy's distance to its maximum"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        of = from_uniform if self.toward == "uniform" else lost_entropy
        forget = self.forget_weight * step.row_mean(step.forget, step.row_values(step.forget, of))
        return self.with_retain(step, forget)
