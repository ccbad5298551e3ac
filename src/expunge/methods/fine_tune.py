from __future__ import annotations

from typing import ClassVar

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class FineTune(Method):
    r"""Fine-tuning on the retain set, hoping that the rest fades (Warnecke et al. 2021, arXiv:2108.11577, baseline).

    $$L = \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    The weakest honest baseline: the forget set is not used. No hyper-parameters.
    """

    needs: ClassVar[Needs] = Needs(forget=False, retain="always")

    def loss(self, step: Step) -> Loss:
        return Loss(retain=step.nll(step.retain))
