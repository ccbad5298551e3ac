from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from pydantic import NonNegativeFloat, PositiveFloat

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class SimNPO(Method):
    r"""Simple negative preference optimisation (Fan et al. 2024, arXiv:2410.07163, equation 4).

    $$L = -\frac{2}{\beta} \, \frac{1}{|F|} \sum_{(x, y) \in F} \log \sigma\!\left(\beta \left(-\frac{1}{|y|}
          \log p_\theta(y \mid x) - \gamma\right)\right)
          + \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    NPO without a reference model: the likelihood is divided by the answer's length |y| in tokens (1 for an image), and
    a margin gamma takes the reference's place. It is multiplied by beta as in the authors' code and in OpenUnlearning,
    which calls it delta; in the paper's equation it is not, so that the paper's gamma is beta times this one. |y|
    counts the tokens that are predicted: for plain text those codes count its first one, too.
    """

    beta: PositiveFloat = 4.5
    "inverse temperature; 4.5 in OpenUnlearning's configuration, 2.5 to 5.5 in the paper's grid"
    gamma: NonNegativeFloat = 0.0
    "margin, in nats a token; 0 in OpenUnlearning's configuration"
    forget_weight: PositiveFloat = 0.125
    "weight of the forget loss; 0.125 in OpenUnlearning's configuration"
    retain_weight: NonNegativeFloat = 1.0
    "alpha; 1 in the paper"

    needs: ClassVar[Needs] = Needs(retain="weighted")

    def loss(self, step: Step) -> Loss:
        nll = step.example_nll(step.forget) / step.example_rows(step.forget)
        losses = F.logsigmoid(self.beta * (nll - self.gamma))
        forget = -2 / self.beta * self.forget_weight * step.mean(step.forget, losses)
        return self.with_retain(step, forget)
