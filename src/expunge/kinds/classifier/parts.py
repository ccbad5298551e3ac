"""The pictures of a run, split into the retain set, the forget set and held-out sets."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.data.images.class_order import ClassOrder, class_order, reordered
from expunge.data.images.image_set import ImageSet
from expunge.data.images.listing import some
from expunge.data.images.reading import read_images
from expunge.data.images.selection import Split, split
from expunge.errors import DataError
from expunge.kinds.classifier.recipe import ImageRecipe

PEOPLE = ("person", "identity", "subject")
"columns with the identity of a picture's person, if the recipe names none: the first that exists"


@dataclass(frozen=True, slots=True, eq=False)
class ImageParts:
    """The four parts of the data (retain, forget, validation, test), with notes about them."""

    parts: dict[str, ImageSet]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    other_order: tuple[int, ...] | None = None
    """for each class its place in another order that a model without names may have; None: there is
    no other"""

    @property
    def size(self) -> int:
        """Height and width of every picture in pixels."""
        return int(self.parts["retain"].pixels.shape[1])

    def digests(self) -> dict[str, str]:
        return {f"{name} set": part.digest() for name, part in self.parts.items()}

    def sizes(self) -> dict[str, dict[str, int]]:
        return {
            name: {"pictures": len(part), "classes": len(set(part.labels.tolist()))}
            for name, part in self.parts.items()
        }


def read_as_asked(source: str, size: int, asked: Any) -> ImageSet:
    """The pictures of a source, read with a recipe's part `images`."""
    return read_images(
        source,
        size=size,
        label=asked.label,
        limit=asked.limit,
        bins=asked.bins,
        skip_unreadable=asked.skip_unreadable,
    )


def read_image_parts(
    recipe: ImageRecipe,
    size: int,
    names: Sequence[str] | None = None,
    trained: Collection[str] | None = None,
    count: int | None = None,
) -> ImageParts:
    """Read and split the pictures that the recipe names.

    Args:
        size: height and width to resize them to.
        names: the model's names of its classes, in its order, if any.
        trained: ids of the training part, if the model has them; all others are held back.
        count: number of classes of the model; None for a model that is trained here.

    Raises:
        DataError: as in `read_images` and `split`; test data with other classes than the training data; classes
            of which the model knows only some; nothing to measure on.
    """
    settings = recipe.images
    images = read_as_asked(recipe.data, size, settings)
    if not images.labelled:
        raise DataError(
            f"the pictures of {recipe.data} have no labels, and a classifier learns from them",
            allowed="class folders, or a column of labels",
            next_step="name the column: --images.label COLUMN",
        )
    order = class_order(images.classes, names, count, images.source)
    notes = [order.note] if order is not None and order.note is not None else []
    other = None if order is None else order.swap()
    images = images if order is None else reordered(images, order)
    parts: Split = split(
        images,
        recipe.forget,
        validation=settings.validation,
        test=settings.test if recipe.test_data is None else 0.0,
        seed=recipe.seed,
        only_train=settings.only_train,
        trained=None if trained is None else _rows(images, trained),
    )
    named = {"retain": parts.retain, "forget": parts.forget, "validation": parts.validation, "test": parts.test}
    notes = [*images.notes, *notes, *parts.notes]
    if recipe.test_data is not None:
        test = read_as_asked(recipe.test_data, size, settings.model_copy(update={"limit": None}))
        notes += test.notes
        named["test"] = of_classes(test, images.classes, f"the test pictures {recipe.test_data}", recipe.data)
    if not len(named["test"]):
        raise DataError(
            "there are no test pictures to measure on",
            seen=f"{len(images)} pictures, of which {len(parts.forget)} are to be forgotten; images.test {settings.test:g}",
            next_step="give more pictures, a larger share (--images.test 0.2), or separate pictures (--test_data)",
        )
    return ImageParts(named, images.classes, tuple(notes), other)


def of_classes(images: ImageSet, classes: Sequence[str], what: str, data: str) -> ImageSet:
    """The pictures with labels that count these classes. Raises `DataError` if they have others; `what` describes
    them."""
    if not set(images.classes) <= set(classes):
        raise DataError(
            f"{what} have other classes than {data}", seen=", ".join(images.classes), allowed=", ".join(classes)
        )
    return reordered(images, ClassOrder(tuple(classes), tuple(map(tuple(classes).index, images.classes))))


def _rows(images: ImageSet, trained: Collection[str]) -> np.ndarray:
    """Rows of the pictures that a model was trained on."""
    rows = np.flatnonzero(np.isin(np.array(images.ids), np.array(sorted(trained))))
    if len(rows) < len(trained):
        absent = sorted(set(trained) - set(images.ids))
        raise DataError(
            f"{len(absent)} of the {len(trained)} pictures that the model was trained on are not in {images.source}",
            seen=some(absent),
            next_step="restore them, forget them while they exist, or train from scratch without --model",
        )
    return rows
