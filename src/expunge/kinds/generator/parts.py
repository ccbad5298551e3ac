"""The pictures of a run on a generator: retain set, forget set, and held-out parts of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.images.image_set import ImageSet
from expunge.data.images.labels import cut
from expunge.data.images.query import matching, ordered
from expunge.data.images.reading import read_images
from expunge.data.images.request import askable, select
from expunge.data.images.selection import split
from expunge.errors import DataError
from expunge.kinds.classifier.parts import PEOPLE, read_as_asked
from expunge.kinds.generator.recipe import GeneratorRecipe

PARTS = ("retain", "forget", "retain_test", "forget_test")
"training pictures to keep and to forget, and held-back ones of either kind"
FORGET_PARTS = ("forget", "forget_test")
GROUPS = 10
"classes for the measuring network that a numeric column is cut into if it has more than twice as many values"


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorParts:
    """Pictures by part, with notes about them.

    Attributes:
        proxy: pictures from elsewhere that serve as the retain set while unlearning, if any.
        identity: the column with the identity of a picture's person, if any.
    """

    parts: Mapping[str, ImageSet]
    notes: tuple[str, ...]
    proxy: ImageSet | None
    identity: str | None

    @property
    def size(self) -> int:
        """Height and width of every picture in pixels."""
        return int(self.parts["retain"].pixels.shape[1])

    @property
    def classes(self) -> tuple[str, ...] | None:
        """Names of the classes, if the pictures have labels."""
        retain = self.parts["retain"]
        return retain.classes if retain.labelled else None

    def forgotten_group(self) -> np.ndarray | None:
        """(classes,) share of each class's pictures that is to be forgotten, if the forget set is a group of classes.

        None with names, which say more; without classes; and if most of the forget set is of classes that are mostly
        retained.
        """
        classes = self.classes
        if self.identity is not None or classes is None:
            return None
        lost, all_of_them = (
            np.bincount(np.concatenate([self.parts[name].labels for name in names]), minlength=len(classes))
            for names in (FORGET_PARTS, PARTS)
        )
        share = np.asarray(lost / np.maximum(all_of_them, 1))
        return share if lost[share > 0.5].sum() > lost.sum() / 2 else None

    def forgotten_share(self) -> float:
        """Share of all pictures, held-back ones included, that is of the forgotten kind."""
        lost = sum(len(self.parts[name]) for name in FORGET_PARTS)
        return lost / sum(len(part) for part in self.parts.values())

    def digests(self) -> dict[str, str]:
        return {f"{name} set": part.digest() for name, part in self._with_proxy().items()}

    def sizes(self) -> dict[str, dict[str, int]]:
        return {name: {"pictures": len(part)} for name, part in self._with_proxy().items()}

    def _with_proxy(self) -> dict[str, ImageSet]:
        return {**self.parts, **({} if self.proxy is None else {"proxy": self.proxy})}


def read_generator_parts(recipe: GeneratorRecipe, size: int) -> GeneratorParts:
    """Read and split the pictures that the recipe names.

    All pictures are shuffled and split into training and test pictures first, then each part by what is to be
    forgotten; so a forgotten kind also has held-back pictures, on which nothing was trained.

    Raises:
        DataError: as in `read_images` and `split`; nothing held back to measure on.
    """
    settings = recipe.images
    images = read_as_asked(recipe.data, size, settings)
    identity = recipe.evaluation.identity or next((name for name in PEOPLE if name in images.columns), None)
    images = _classed(images, recipe)
    if identity is not None and identity not in images.columns:
        raise DataError(
            f"{recipe.data} has no column {identity!r} with the identity of a picture's person",
            allowed=", ".join(images.columns) or "none",
            next_step="name another: --evaluation.identity COLUMN; or leave it out",
        )
    parted = split(images, recipe.forget, validation=0.0, test=settings.test, seed=recipe.seed, only_train=True)
    meant = _meant(images, recipe, parted.forget_rows)
    rows = {
        "retain": parted.retain_rows,
        "forget": parted.forget_rows,
        "retain_test": np.setdiff1d(parted.test_rows, meant),
        "forget_test": np.intersect1d(parted.test_rows, meant),
    }
    if len(rows["retain_test"]) < 2:
        raise DataError(
            "there are too few pictures held back to measure on",
            seen=f"{len(images)} pictures; images.test {settings.test:g}; {len(rows['retain_test'])} to keep among them",
            allowed="at least 2",
            next_step="give more pictures, or a larger share: --images.test 0.2",
        )
    parts = {name: images.take(rows[name]) for name in PARTS}
    proxy = None
    notes = [*images.notes, *(note for note in parted.notes if not note.startswith("meant, but in"))]
    if recipe.retain is not None:
        proxy = read_images(recipe.retain, size=size, skip_unreadable=settings.skip_unreadable)
        notes += proxy.notes
    return GeneratorParts(parts, tuple(notes), proxy, identity)


def _classed(images: ImageSet, recipe: GeneratorRecipe) -> ImageSet:
    """Pictures without classes get those of the identity column, or of the column that the request selects by.

    A quantity, which the request selects by order (`age <= 12`), is cut into groups.
    """
    if images.labelled:
        return images
    names = [] if recipe.evaluation.identity is None else [recipe.evaluation.identity]
    quantities: tuple[str, ...] = ()
    asked = recipe.forget.strip()
    if asked.startswith("identity:"):
        names.append(asked.split(":")[1])
    elif not asked.startswith(("random:", "class:")) and not asked.lower().endswith((".csv", ".txt")):
        names += matching(asked, askable(images), images.source)[1]
        quantities = ordered(asked)
    for name in names:
        column = images.columns.get(name)
        if column is None or column.dtype.kind == "f":
            continue
        values, labels = np.unique(column, return_inverse=True)
        classes, what = tuple(map(str, values)), f"the values of {name}"
        if name in quantities and len(values) > 2 * GROUPS:
            labels, classes = cut(column, name, GROUPS, images.source)
            what = f"{GROUPS} ranges of {name}"
        if 2 <= len(classes) <= len(images) // 2:
            learnt = f"the classes that the measuring network learns are {what}"
            return replace(
                images, labels=labels.reshape(-1).astype(np.int64), classes=classes, notes=(*images.notes, learnt)
            )
    return images


def _meant(images: ImageSet, recipe: GeneratorRecipe, forget_rows: np.ndarray) -> np.ndarray:
    """Rows of the whole data that the request selects; for a random draw from the training part, the rows drawn."""
    kind, _, rest = recipe.forget.strip().partition(":")
    if kind == "random":
        return forget_rows
    if kind == "identity":
        column = images.columns[rest.rpartition(":")[0]]
        return np.flatnonzero(np.isin(column, column[forget_rows]))
    return select(images, recipe.forget, seed=recipe.seed)
