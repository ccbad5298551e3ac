from __future__ import annotations

from typing import ClassVar

from expunge.runs.method import Method, Needs
from expunge.train.step import Loss, Step


class GradientAscent(Method):
    r"""Gradient ascent on the forget set (Jang et al. 2022, arXiv:2210.01504, equation 1; Yao et al. 2023, arXiv:2310.10683).

    $$L = -\frac{1}{|F|} \sum_{(x, y) \in F} -\log p_\theta(y \mid x)$$

    The loss has no lower bound: it falls without end and destroys the rest of the model, too. Stop early
    (`training.stop_forget_loss`, `training.max_steps`). No hyper-parameters; only learning rate and steps matter.
    """

    needs: ClassVar[Needs] = Needs(retain="never")

    @property
    def diverges(self) -> bool:
        return True

    def loss(self, step: Step) -> Loss:
        return Loss(forget=-step.nll(step.forget))
