from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.runs.method import Needs


class L1Sparse(ImageMethod):
    r"""l1-sparse unlearning (Jia et al. 2023, arXiv:2304.04934, equation 4).

    $$L = \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x) + \alpha_t \|\theta\|_1,
      \quad \alpha_t = \alpha \left(1 - \frac{t}{T}\right)$$

    Fine-tuning on the retain set with an L1 penalty on all weights that fades over the T epochs (t counts from 0): what
    the retain set does not need decays.
    """

    alpha: NonNegativeFloat = 5e-4
    """strength of the pull in the first epoch; 5e-4 in AMUN's code; the authors' option for all their methods defaults
    to 0.2"""
    epochs: PositiveInt = 10
    "passes over the retain set; 10 in the paper"
    learning_rate: PositiveFloat = 0.01
    "of SGD with momentum 0.9; 0.01 in the authors' code"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the authors' code"
    batch_size: PositiveInt = 64
    "pictures in a batch; 256 in the authors' code"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        parameters = work.trainable()
        for epoch in range(self.epochs):
            strength = self.alpha * (1 - epoch / self.epochs)

            def loss(batch: ImageBatch, strength: float = strength) -> Tensor:
                size = sum((parameter.abs().sum() for parameter in parameters), start=parameters[0].new_zeros(()))
                return work.cross_entropy(batch) + strength * size

            phase = self.phase(f"epoch {epoch + 1}", epochs=1, continues="sparse")
            work.train(phase, work.retain, loss)
