from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class WGA(Method):
    r"""WGA, weighted gradient ascent (Wang et al. 2025, arXiv:2502.19301).

    $$L = -\gamma \, \frac{1}{|F|} \sum_{(x, y) \in F} \left[p_\theta(y \mid x)^{\beta}\right]_{\text{fixed}}
          \left(-\log p_\theta(y \mid x)\right) + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    Gradient ascent in which a token counts less the less likely it has become: the weight has no gradient of its own,
    and bounds the ascent. With beta 0 it is gradient difference.
    """

    beta: NonNegativeFloat = 1.0
    "how soon a token stops counting; 1 in the paper's experiments"
    forget_weight: PositiveFloat = 1.0
    "gamma; 1 in OpenUnlearning"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 of OpenUnlearning's grid of 0.1, 1 and 10"
    retain_target: Literal["text", "base"] = "text"
    "labels of R: its own text, or the base model's outputs"

    needs: ClassVar[Needs] = Needs(retain="weighted", kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        nll = step.row_nll(step.forget)
        with torch.no_grad():
            weights = self.weights(nll)
        forget = -self.forget_weight * step.row_mean(step.forget, weights * nll)
        return self.with_retain(step, forget)

    def weights(self, nll: Tensor) -> Tensor:
        """(rows,) weights of tokens with these losses in nats."""
        return torch.exp(-self.beta * nll)
