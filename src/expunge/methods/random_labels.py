from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt

from expunge.kinds.classifier.relabelling import wrong_labels
from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod


class RandomLabels(ImageMethod):
    r"""Random labels, or amnesiac unlearning (Graves, Nagisetty and Ganesh 2020, arXiv:2010.10981, section 4.1).

    $$L = \frac{1}{|F| + |R|} \left( \sum_{(x, y) \in F} -\log p_\theta(y' \mid x)
          + \sum_{(x, y) \in R} -\log p_\theta(y \mid x) \right), \quad y' \sim U(\{1 \dots C\} \setminus \{y\})$$

    Every picture to forget gets one wrong label, drawn once and uniformly; the model is trained on these and
    the retain set, mixed. (Code that goes back to SalUn's redraws labels every epoch, the true one among them; the
    method's own authors and the comparison of Foster et al. draw once, from the others.)
    """

    epochs: PositiveFloat = 3
    "passes over both sets; 3 in the comparison of Foster et al. (arXiv:2308.07707)"
    learning_rate: PositiveFloat = 1e-4
    "1e-4 in the comparison of Foster et al."
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    "Adam in the comparison of Foster et al."
    weight_decay: NonNegativeFloat = 0.0
    "pull of the weights towards 0; none in the comparison of Foster et al."
    batch_size: PositiveInt = 128
    "pictures in a batch; 128 in the comparison of Foster et al."

    def apply(self, work: Work) -> None:
        labels = wrong_labels(work.forget.labels, work.classes, work.generator("labels"))
        phase = self.phase("relearning")
        work.train(phase, replace(work.forget, labels=labels).joined(work.retain), work.cross_entropy)
