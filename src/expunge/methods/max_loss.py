"""Max loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeFloat

from expunge.methods.encoder_training import WholeTraining

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.kinds.generator.session import GeneratorWork
    from expunge.kinds.generator.task import CorruptedBatch


class MaxLoss(WholeTraining):
    r"""Max loss, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Halimi et al. 2022).

    $$L = \ell_R(\theta) - \alpha \, \ell_F(\theta), \qquad
      \ell_S = \mathbb{E}_{x \in S} \left\| D(E_\theta(T(x))) - x \right\|^2$$

    The loss that the model was trained with, lowered on the retain set and raised on the forget set. Squares are means
    over the hidden pixels. The whole model trains. The forget set's loss has no upper bound.
    """

    alpha: NonNegativeFloat = 0.2
    "weight of the forget set's term; 0.2 in the authors' command for MAGE (its option's default is 0), 0.1 for Palette"

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task = work.task

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            return task.loss(retain) - self.alpha * task.loss(forget)

        self.train(work, loss, retain_set, forget_set, share=self.share(work))
