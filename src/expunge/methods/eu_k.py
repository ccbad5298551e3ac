from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat, PositiveInt

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import frozen, reset, tail
from expunge.runs.method import Needs
from expunge.train.callback import Hooks
from expunge.train.phase import again


class EuK(ImageMethod):
    r"""EU-k, exact unlearning of the last k layers (Goel et al. 2022, arXiv:2201.06640).

    $$\min_{\theta_{>L-k}} \; \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x)
      \text{ from random } \theta_{>L-k}, \quad \theta_{\le L-k} \text{ fixed}$$

    The last k blocks and the head are put back to random weights and trained as the original was (optimizer, schedule,
    class weights) on the retain set. What comes before is frozen, the running statistics of its normalisation too, which
    the paper's code still updates; what it learned of the forget set stays.
    """

    k: PositiveInt = 1
    "blocks that begin at random besides the head: residual blocks or transformer layers; the paper's code counts layers"
    epochs: PositiveFloat | None = None
    "passes over the retain set; default: the original's, as in the paper"
    learning_rate: PositiveFloat | None = None
    "highest learning rate; default: the original's"
    batch_size: PositiveInt | None = None
    "pictures in a batch; default: the original's"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        phase = again(work.training, "last blocks", self.epochs, self.learning_rate, self.batch_size)
        before, last = tail(work.model, self.k)
        reset(last, work.generator("reset"))
        with frozen(before):
            work.train(phase, work.retain, work.weighted_cross_entropy, callbacks=[Hooks(eval_modules=before)])
