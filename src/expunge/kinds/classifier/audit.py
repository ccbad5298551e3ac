"""An audit of an image classifier."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from expunge.data.images.image_set import ImageSet
from expunge.kinds.classifier.attacks.attack import Side, attacks
from expunge.kinds.classifier.attacks.examples import Examples, known
from expunge.kinds.classifier.audited_pictures import audited_model
from expunge.kinds.classifier.damage import right
from expunge.kinds.classifier.parts import of_classes, read_as_asked
from expunge.kinds.classifier.picture_audit import PictureAuditing
from expunge.kinds.classifier.story import ClassifierStory
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.attacking import AnyAttack


class ImageAuditing(PictureAuditing[Side]):
    """The audit of one classifier on the pictures of a run."""

    side = Side
    known_as = "the probability that the model gives its true class"
    damage_splits = {"retain": "retain", "test": "test"}
    damage_words = {"retain": "Accuracy on the retain set kept", "test": "Accuracy on the test set kept"}
    explained = "{before:.1%} right before, {after:.1%} after"

    def values(self, task: ImageClassifier, asked: Examples) -> list[float]:
        return known(task, asked.pictures)

    def kept_values(self, task: ImageClassifier, split: str, pictures: Pictures) -> list[float]:
        return right(task, pictures)

    def said(self, task: ImageClassifier, numbers: Sequence[int]) -> list[str]:
        """The likeliest class of each picture with its probability."""
        p = task.outputs(self.asked.some(list(numbers))).cpu().double().softmax(-1).numpy()
        return [_answer(each, self.sets.classes) for each in p]

    def holdout_classed(self, path: str) -> ImageSet:
        recipe = self.run.recipe
        read = read_as_asked(path, self.sets.size, recipe.images.model_copy(update={"limit": None}))
        return of_classes(read, self.sets.classes, f"the holdout pictures {path}", recipe.data)

    @property
    def _group(self) -> bool:
        return super()._group and not self.run.recipe.images.only_train

    def every(self) -> list[AnyAttack[Side]]:
        return attacks()


def _answer(p: np.ndarray, classes: Sequence[str]) -> str:
    """The likeliest class with its probability."""
    if not np.isfinite(p).all():
        return "no answer: the outputs are not numbers"
    return f"{classes[int(p.argmax())]}, {p.max():.0%}"


def make_audit(story: ClassifierStory, subject: str | None, control: str | None, holdout: str | None) -> ImageAuditing:
    """The audit of a run's model, or of another one on the run's pictures.

    Args:
        subject: the model; None: the run's own.

    Raises:
        RunError: the run has no unlearned model.
    """
    return ImageAuditing(story, audited_model(story, subject), control, holdout)
