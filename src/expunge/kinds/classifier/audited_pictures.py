"""Choose an audit's pictures, similar unseen ones, and the model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from expunge.data.images.duplicates import exact_copies
from expunge.data.images.image_set import ImageSet
from expunge.errors import DataError, RunError
from expunge.kinds.classifier.attacks.examples import FEWEST, Examples, evenly, matched
from expunge.kinds.classifier.picture_story import PictureStory
from expunge.kinds.classifier.sets import tensors
from expunge.runs.artifacts import unlearned_model


def asked_and_like(
    forget: ImageSet, unseen: ImageSet, wanted: int, *, matching: bool, identity: str | None
) -> tuple[Examples, Examples | None]:
    """(pictures of the forget set, as many of the same classes that no model saw, if there are enough).

    Args:
        wanted: pictures of either, at most.
        matching: use only pictures with a counterpart, which is their control.
        identity: the column of the person on a picture.

    Raises:
        DataError: the forget set has too few pictures.
    """
    if len(forget) < FEWEST:
        raise DataError(
            "the forget set has too few pictures to be audited",
            seen=str(len(forget)),
            allowed=f"at least {FEWEST}; some hundreds give useful intervals",
        )
    labels, theirs = forget.labels, unseen.labels
    if unseen.classes != forget.classes:  # pictures without classes are all alike
        labels, theirs = np.zeros_like(labels), np.zeros_like(theirs)
    rows, others = matched(labels, theirs, wanted)
    like = _examples(unseen.take(others), identity) if len(others) >= FEWEST else None
    if not matching or like is None:
        rows = evenly(len(forget), wanted)
    return _examples(forget.take(rows), identity), like


def _examples(images: ImageSet, identity: str | None) -> Examples:
    people = None if identity is None else images.columns.get(identity)
    return Examples(tensors(images), images.ids, None if people is None else tuple(map(str, people)))


def refuse_trained_on(given: ImageSet, parts: Mapping[str, ImageSet], path: str) -> None:
    """Raise `DataError` if supposedly unseen pictures are in a set that was trained on."""
    for name in ("forget", "retain"):
        copies = exact_copies(given.pixels, parts[name].pixels)
        if copies:
            raise DataError(
                f"{len(copies)} of the holdout pictures {path} are in the {name} set, too",
                seen=given.ids[copies[0][0]],
                allowed="pictures that no model saw",
                next_step="leave them out",
            )


def audited_model(story: PictureStory, subject: str | None) -> str:
    """The folder or id of the audited model: by default the run's own. The sets of the run are read.

    Raises:
        RunError: the run has no unlearned model.
    """
    folder = story.run.folder
    found = unlearned_model(folder)
    if subject is None and found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    story.reread(found[1] if found is not None and subject is None else None)
    return subject or str(folder.model)
