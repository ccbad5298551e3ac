"""Session of a method that is more than one loss on a classifier: the sets, the original's outputs, phases.

A method's `apply` reads as a list of phases; see `expunge.train.session`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from expunge.kinds.classifier.task import ImageBatch, ImageClassifier, Pictures
from expunge.train.phase import Phase
from expunge.train.session import FORWARD, Session


@dataclass(slots=True, kw_only=True)
class Work(Session):
    """A classifier to change, the sets, and the operations a method may use.

    Attributes:
        task: the classifier; its `model` is changed in place.
        retain, forget: training pictures to retain and to forget.
        validation: held-back pictures of the same kind, if there are any.
        classes: number of classes.
        class_weights: (classes,) that the original was trained with, if any.
        training: the phase that the original was trained with, where known, for methods that retrain.
        budget_passes: image passes that a method may take, if there is a limit that it can adapt to.
    """

    task: ImageClassifier
    retain: Pictures
    forget: Pictures
    validation: Pictures | None = None
    classes: int
    class_weights: Tensor | None = None
    training: Phase | None = None
    budget_passes: float | None = None
    _outputs: dict[int, Tensor] = field(default_factory=dict)

    def original_outputs(self, pictures: Pictures) -> Tensor:
        """(n, classes) the original's logits on a set; computed once, since neither changes."""
        if id(pictures) not in self._outputs:
            self._outputs[id(pictures)] = self.original.outputs(pictures)
            self.cost.passes += FORWARD * len(pictures)
        return self._outputs[id(pictures)]

    def outputs(self, pictures: Pictures) -> Tensor:
        """(n, classes) logits of the current model."""
        self.cost.passes += FORWARD * len(pictures)
        return self.task.outputs(pictures)

    def cross_entropy(self, batch: ImageBatch, logits: Tensor | None = None, **options: Any) -> Tensor:
        """Mean cross-entropy with the labels; `logits` of the batch, if computed already."""
        logits = self.task.logits_of(batch.pixels) if logits is None else logits
        return nn.functional.cross_entropy(logits, batch.labels, **options)

    def weighted_cross_entropy(self, batch: ImageBatch) -> Tensor:
        """Cross-entropy as the original was trained with: classes weighed by `class_weights`, if there are any."""
        weights = self.class_weights
        return self.cross_entropy(
            batch, weight=None if weights is None else weights.to(self.task.device, self.task.dtype)
        )
