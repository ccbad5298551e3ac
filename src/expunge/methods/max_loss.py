from __future__ import annotations

from torch import Tensor

from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import WholeTraining


class MaxLoss(WholeTraining):
    r"""Max loss, a baseline for generators (Li et al. 2024, arXiv:2402.00351; Halimi et al. 2022).

    $$L = \ell_R(\theta) - \alpha \, \ell_F(\theta), \qquad
      \ell_S = \mathbb{E}_{x \in S} \left\| D(E_\theta(T(x))) - x \right\|^2$$

    The loss that the model was trained with, lowered on the retain set and raised on the forget set. Squares are means
    over the hidden pixels. The whole model trains. The forget set's loss has no upper bound.
    """

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task = work.task

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            return task.loss(retain) - self.alpha * task.loss(forget)

        self.train(work, loss, retain_set, forget_set, share=self.share(work))
