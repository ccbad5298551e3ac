from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import frozen, tail
from expunge.runs.method import Needs
from expunge.train.callback import Hooks


class CfK(ImageMethod):
    r"""CF-k, catastrophic forgetting of the last k layers (Goel et al. 2022, arXiv:2201.06640).

    $$\min_{\theta_{>L-k}} \; \frac{1}{|R|} \sum_{(x, y) \in R} -\log p_\theta(y \mid x),
      \quad \theta_{\le L-k} \text{ fixed}$$

    Fine-tuning of the last k blocks and the head on the retain set. What comes before is frozen, the running statistics
    of its normalisation too: its outputs for a picture stay bit-identical. (The paper's code still updates these
    statistics.)
    """

    k: PositiveInt = 1
    """blocks trained in addition to the head: residual blocks or transformer layers; the paper's code counts single
    layers"""
    epochs: PositiveFloat = 10
    "passes over the retain set; 10 in the SCRUB paper's comparison"
    learning_rate: PositiveFloat = 0.01
    "of SGD with momentum 0.9; 0.01 in the SCRUB paper's comparison"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the SCRUB paper's comparison"
    batch_size: PositiveInt = 64
    "pictures in a batch; 64, as the challenge's original"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        before, _ = tail(work.model, self.k)
        phase = self.phase("last blocks")
        with frozen(before):
            work.train(phase, work.retain, work.cross_entropy, callbacks=[Hooks(eval_modules=before)])
