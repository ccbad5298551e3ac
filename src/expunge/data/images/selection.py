"""Pictures split into the retain set, the forget set, and pictures never trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.core.order import random_seed
from expunge.data.images.duplicates import exact_copies, near_copies
from expunge.data.images.image_set import ImageSet
from expunge.data.images.listing import some
from expunge.data.images.query import matching
from expunge.data.images.request import askable, select
from expunge.errors import DataError


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Split:
    """Four parts of an image set without a picture in common; a base model trains on retain and forget together."""

    retain: ImageSet
    forget: ImageSet
    validation: ImageSet
    test: ImageSet
    retain_rows: np.ndarray
    "rows of the whole set, sorted, as the three below"
    forget_rows: np.ndarray
    validation_rows: np.ndarray
    test_rows: np.ndarray
    notes: tuple[str, ...]
    "what the user should know: copies, classes forgotten whole, pictures a query could not judge"


def split(
    images: ImageSet,
    forget: str,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int,
    only_train: bool = False,
    trained: np.ndarray | None = None,
) -> Split:
    """Part the pictures: a seeded shuffle first, then what `forget` (see `select`) means goes its own way.

    The shuffle depends on the number of pictures and the seed alone, so all requests share validation and test.

    Args:
        validation, test: their shares of all pictures; the rest is the training part.
        only_train: take the forget set from the training part and leave the others alone, as in the 2023 contest.
            Without it, every picture meant leaves all parts, and the forget set is all of them.
        trained: rows of the training part, where it is known; validation and test share the others in proportion, and
            only these rows can be forgotten.

    Raises:
        DataError: what `select` refuses, shares that leave no training part, nothing to keep, and a forget set of
            which every picture has an exact copy in the retain set.
    """
    if trained is None:
        train_rows, validation_rows, test_rows = _shuffled(len(images), validation, test, seed)
    else:
        only_train, train_rows = True, np.sort(trained)
        validation_rows, test_rows = _shared(np.setdiff1d(np.arange(len(images)), trained), validation, test, seed)
    forget_rows = select(images, forget, seed=seed, among=train_rows if only_train else None)
    retain_rows = np.setdiff1d(train_rows, forget_rows)
    if not len(retain_rows):
        raise DataError(
            f"{forget!r} leaves nothing to keep for training",
            seen=f"{len(forget_rows)} of {len(images)} pictures to forget, the rest in validation and test",
            next_step="narrow the query, or give smaller shares to validation and test",
        )
    rows = (retain_rows, forget_rows, np.setdiff1d(validation_rows, forget_rows), np.setdiff1d(test_rows, forget_rows))
    parts = [images.take(part) for part in rows]
    notes = [*_unjudged(images, forget), *_elsewhere(images, forget, forget_rows, only_train, seed)]
    notes += [*_classes(*parts[:3]), *_copies(*parts)]
    return Split(
        retain=parts[0],
        forget=parts[1],
        validation=parts[2],
        test=parts[3],
        retain_rows=rows[0],
        forget_rows=rows[1],
        validation_rows=rows[2],
        test_rows=rows[3],
        notes=tuple(notes),
    )


def _shuffled(count: int, validation: float, test: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    sizes = [round(share * count) for share in (validation, test)]
    if min(validation, test) < 0 or sum(sizes) >= count:
        raise DataError(
            "the shares of validation and test leave no training part",
            seen=f"validation {validation:g} and test {test:g} of {count} pictures",
            allowed="0 or more each, less than 1 together",
        )
    shuffled = np.random.default_rng(random_seed(seed, "split")).permutation(count)
    train = count - sum(sizes)
    parts = (shuffled[:train], shuffled[train : train + sizes[0]], shuffled[train + sizes[0] :])
    return np.sort(parts[0]), np.sort(parts[1]), np.sort(parts[2])


def _shared(rows: np.ndarray, validation: float, test: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    shuffled = rows[np.random.default_rng(random_seed(seed, "split")).permutation(len(rows))]
    count = round(len(rows) * validation / (validation + test))
    return np.sort(shuffled[:count]), np.sort(shuffled[count:])


def _is_drawn(forget: str) -> bool:
    return forget.strip().startswith(("random:", "identity:"))


def _unjudged(images: ImageSet, forget: str) -> list[str]:
    """Pictures that a query could not judge, since they lack a number it asks for."""
    if _is_drawn(forget) or forget.strip().lower().endswith((".csv", ".txt")) or forget.strip().startswith("class:"):
        return []
    columns = askable(images)
    used = [name for name in matching(forget, columns, images.source)[1] if columns[name].dtype.kind == "f"]
    notes = []
    for name in used:
        rows = np.flatnonzero(np.isnan(columns[name]))
        if len(rows):
            named = some([images.ids[row] for row in rows])
            notes.append(f"not forgotten, since they have no {name}: {len(rows)} of the pictures: {named}")
    return notes


def _elsewhere(images: ImageSet, forget: str, forget_rows: np.ndarray, only_train: bool, seed: int) -> list[str]:
    if not only_train or _is_drawn(forget):
        return []
    others = np.setdiff1d(select(images, forget, seed=seed), forget_rows)
    if not len(others):
        return []
    named = some([images.ids[row] for row in others])
    return [f"meant, but in validation or test and never trained on: {len(others)} of the pictures: {named}"]


def _classes(retain: ImageSet, forget: ImageSet, validation: ImageSet) -> list[str]:
    if not retain.labelled:
        return []
    forgotten = np.setdiff1d(forget.labels, retain.labels)
    notes = []
    if len(forgotten):
        names = some([retain.classes[label] for label in forgotten])
        notes.append(f"no picture of the class {names} is in the retain set: this forgets whole classes")
    unseen = np.setdiff1d(np.setdiff1d(forget.labels, validation.labels), forgotten)
    if len(validation) and len(unseen):
        names = some([retain.classes[label] for label in unseen])
        notes.append(f"validation has no picture of the class {names}, which the forget set has")
    return notes


def _copies(retain: ImageSet, forget: ImageSet, validation: ImageSet, test: ImageSet) -> list[str]:
    """Notes on copies of forgotten pictures elsewhere; an error where each has one in the retain set."""
    kept = exact_copies(forget.pixels, retain.pixels)
    shown = _pairs(kept, forget, retain)
    if len(kept) == len(forget):
        raise DataError(
            "every picture to forget has an exact copy among those to keep",
            seen=shown,
            next_step="add the copies to the forget set, or remove them from the data",
        )
    notes = []
    if kept:
        notes.append(f"of the pictures to forget, {len(kept)} also in the retain set, as exact copies: {shown}")
    for name, part in (("validation", validation), ("test", test)):
        held = exact_copies(forget.pixels, part.pixels)
        if held:
            notes.append(f"of the pictures to forget, {len(held)} also in {name}: {_pairs(held, forget, part)}")
    exact = {row for row, _ in kept}
    alike = [pair for pair in near_copies(forget.pixels, retain.pixels) if pair[0] not in exact]
    if alike:
        copies = _pairs(alike, forget, retain)
        notes.append(f"of the pictures to forget, {len(alike)} with a near-duplicate in the retain set: {copies}")
    return notes


def _pairs(pairs: list[tuple[int, int]], forget: ImageSet, part: ImageSet) -> str:
    return some([f"{forget.ids[row]} = {part.ids[other]}" for row, other in pairs])
