from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import reset
from expunge.runs.method import Needs
from expunge.train.phase import again


class Retrain(ImageMethod):
    r"""Retraining from random weights without the forget set (Cao and Yang 2015; Bourtoule et al. 2019, arXiv:1912.03817).

    $$\theta = A(R; \theta_{\mathrm{random}}), \quad
      A: \; \min_\theta \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)$$

    The full-cost method that all others approximate: the model is trained as the original was (optimizer, schedule,
    class weights), without the forget set.
    """

    epochs: PositiveFloat | None = None
    "passes over the retain set; default: the original's"
    learning_rate: PositiveFloat | None = None
    "highest learning rate; default: the original's"
    batch_size: PositiveInt | None = None
    "pictures in a batch; default: the original's"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        phase = again(work.training, "training", self.epochs, self.learning_rate, self.batch_size)
        reset([work.model], work.generator("reset"))
        work.train(phase, work.retain, work.weighted_cross_entropy)
