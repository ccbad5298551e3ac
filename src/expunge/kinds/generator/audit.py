"""An audit of an image-to-image generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from torch import Tensor

from expunge.data.images.image_set import ImageSet
from expunge.kinds.classifier.attacks.examples import FEWEST, Examples, matched
from expunge.kinds.classifier.audited_pictures import audited_model
from expunge.kinds.classifier.parts import of_classes, read_as_asked
from expunge.kinds.classifier.picture_audit import PictureAuditing
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.attacks.attack import Side, attacks
from expunge.kinds.generator.attacks.nearness import VIEWS, mean_picture, nearness, views
from expunge.kinds.generator.feature_network import FeatureNetwork
from expunge.kinds.generator.judge_network import (
    found_network,
    is_trained_here,
    judging_rate,
    to_train,
    training_rate,
)
from expunge.kinds.generator.story import GeneratorStory
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.attacking import AnyAttack
from expunge.runs.work import Work


class GeneratorAuditing(PictureAuditing[Side]):
    """The audit of one generator on the pictures of a run."""

    side = Side
    known_as = "how much of what tells its hidden pixels from the mean picture's is drawn"
    damage_splits = {"retain": "retain", "test": "retain_test"}
    damage_words = {"retain": "Drawn of the retain set, kept", "test": "Drawn of held-back pictures, kept"}
    explained = "{before:.1%} drawn before, {after:.1%} after"
    story: GeneratorStory

    @cached_property
    def middle(self) -> Tensor:
        """(3, side, side) the mean picture of the retain set."""
        return mean_picture(self.sets.tensors["retain"])

    def _nearness(self, task: ImageToImage, pictures: Pictures) -> list[float]:
        keys = views(len(pictures), self.seed)
        return nearness(task, pictures, range(len(pictures)), keys, self.middle)

    def values(self, task: ImageToImage, asked: Examples) -> list[float]:
        return self._nearness(task, asked.pictures)

    def kept_values(self, task: ImageToImage, split: str, pictures: Pictures) -> list[float]:
        return self._nearness(task, pictures)

    def said(self, task: ImageToImage, numbers: Sequence[int]) -> list[str]:
        keys = views(len(self.asked), self.seed)
        values = nearness(task, self.asked.pictures, list(numbers), keys, self.middle)
        return [f"{value:.0%} of it drawn" for value in values]

    def holdout_classed(self, path: str) -> ImageSet:
        recipe = self.run.recipe
        given = read_as_asked(path, self.sets.size, recipe.images.model_copy(update={"limit": None}))
        if self.sets.classes is None or not given.labelled:
            return given
        return of_classes(given, self.sets.classes, f"the holdout pictures {path}", recipe.data)

    def _unseen(self, holdout: str | None) -> tuple[ImageSet, bool]:
        """Of what is drawn at random, held-back pictures of the others; of a group those of the group, which tell single
        pictures that were trained on, and are no control: the model may draw the group in them."""
        if holdout is not None:
            return super()._unseen(holdout)
        parts = self.sets.parts
        others, labels = parts["retain_test"], parts["forget"].labels
        if not self._group and len(matched(labels, others.labels, self.settings.pictures)[0]) >= FEWEST:
            return others, True
        return parts["forget_test"], False

    def more(self) -> dict[str, Any]:
        return {"middle": self.middle, "group": lambda: self._group_seen}

    @cached_property
    def _network(self) -> tuple[FeatureNetwork, bool]:
        """The measuring network, trained if there is none yet, and whether it names the classes of the pictures."""
        return found_network(self.run, self.sets, self.story.corruption)[1:]

    @cached_property
    def _group_seen(self) -> tuple[Callable[[], FeatureNetwork], np.ndarray] | None:
        """What gives the measuring network, and each class's share that is to be forgotten; None: it knows of no such group.
        One that is trained here knows it, and is not trained to say so."""
        share = self.sets.forgotten_group()
        if share is None or not (is_trained_here(self.run.recipe) or self._network[1]):
            return None
        return lambda: self._network[0], share

    @cached_property
    def _untrained(self) -> Work:
        """What training the measuring network takes."""
        return Work(fitted=to_train(self.run, self.sets, self.story.corruption))

    def sides(self, attack: AnyAttack[Side] | None = None) -> Iterator[tuple[str, Side]]:
        for which, side in super().sides(attack):
            if which == "unlearned":
                side.untrained = self._untrained
            yield which, side

    def measured(self, work: Work) -> Work:
        rates, recipe = super().measured(work), self.run.recipe
        if work.fitted:
            rates += Work(fitted=training_rate(recipe, self.sets))
        if work.judged:
            there = None if self._untrained.fitted else self._network[0]
            rates += Work(judged=judging_rate(recipe, self.sets, there))
        return rates

    def identity(self) -> str | None:
        return self.sets.identity or super().identity()

    @property
    def _through(self) -> dict[str, Any]:
        return super()._through | {"views": VIEWS, "middle": self._retain}

    def _key_of(self, attack: AnyAttack[Side], which: str) -> dict[str, Any]:
        network = self.run.recipe.network.model_dump() if attack.name == "group" else None
        return super()._key_of(attack, which) | {"views": VIEWS, "network": network}

    def every(self) -> list[AnyAttack[Side]]:
        return attacks()


def make_audit(
    story: GeneratorStory, subject: str | None, control: str | None, holdout: str | None
) -> GeneratorAuditing:
    """The audit of a run's model, or of another one on the run's pictures.

    Args:
        subject: the model; None: the run's own.

    Raises:
        RunError: the run has no unlearned model.
    """
    return GeneratorAuditing(story, audited_model(story, subject), control, holdout)
