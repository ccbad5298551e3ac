from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class NeggradPlus(Method):
    r"""NegGrad+ (Kurmanji, Triantafillou et al. 2023, arXiv:2302.09880, section 4).

    $$L = \alpha \, \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)
          - (1 - \alpha) \, \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_\theta(y \mid x)$$

    Gradient difference with weights that add up to 1: `gradient_difference` with `retain_weight` alpha and
    `forget_weight` 1 - alpha is the same loss; there the weights are free, and a limit holds the ascent back. Here one
    number trades forgetting for keeping, and a learning rate means the same for each value.
    """

    alpha: float = Field(default=0.9999, gt=0, lt=1)
    "share of the retain set; 0.9999 for the paper's large-scale runs, 0.95 for its small ones"

    needs: ClassVar[Needs] = Needs(retain="always")

    @property
    def diverges(self) -> bool:
        return True

    def loss(self, step: Step) -> Loss:
        forget = step.before_next(-(1 - self.alpha) * step.nll(step.forget))
        return Loss(forget=forget, retain=self.alpha * step.nll(step.retain))
