"""The model's class of each class of the data: by names, by numbers, or by order alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from expunge.data.images.image_set import ImageSet
from expunge.data.images.listing import some
from expunge.errors import DataError, nearest


@dataclass(frozen=True, slots=True)
class ClassOrder:
    """Classes of the data in the order of a model's outputs."""

    classes: tuple[str, ...]
    "a name for each of the model's outputs: the data's own where the data has the class"
    places: tuple[int, ...]
    "the index of the output for each class of the data"
    note: str | None = None
    "what to tell of how they were matched; None if the names are the same"
    other: tuple[int, ...] | None = None
    "another order that the names allow, as `places`; None if there is none"

    def swap(self) -> tuple[int, ...] | None:
        """For each output the one that the other order has in its place; None if there is no other order."""
        if self.other is None:
            return None
        after = dict(zip(self.places, self.other, strict=True))
        return tuple(after[place] for place in range(len(self.classes)))


def class_order(
    classes: Sequence[str], names: Sequence[str] | None, count: int | None, source: str
) -> ClassOrder | None:
    """Match the classes of the data with those of a model.

    In this order: the same names; names that differ in case, spaces or zeros in front alone; whole numbers from 0 on as
    numbers of the model's outputs; and, where there are as many, the order (numbers in numeric order).

    Args:
        names: what the model calls its classes, in its order; None if it names none.
        count: how many classes the model has.

    Returns:
        None if the numbers of classes differ and nothing says which is which.

    Raises:
        DataError: the data has classes of which the model knows only some.
    """
    if names is not None:
        count = len(names)
        found = _by_name(classes, names, source)
        if found is not None:
            return found
    if count is None:
        return None
    numbers = _numbers(classes)
    if numbers is not None and max(numbers) < count and min(numbers) >= 0:
        places = numbers
    elif len(classes) != count:
        return None
    elif numbers is not None:
        places = np.argsort(np.argsort(numbers)).tolist()
    else:
        places = list(range(count))
    known = names if names is not None else [str(number) for number in range(count)]
    return _ordered(classes, places, known, _note(classes, places, names), _as_text(classes, places, count))


def _ordered(
    classes: Sequence[str], places: Sequence[int], names: Sequence[str], note: str, other: tuple[int, ...] | None = None
) -> ClassOrder:
    wanted = list(names)
    for name, place in zip(classes, places, strict=True):
        wanted[place] = name
    return ClassOrder(tuple(wanted), tuple(places), note, other)


def reordered(images: ImageSet, order: ClassOrder) -> ImageSet:
    """The same pictures with labels that count the model's outputs."""
    return replace(images, labels=np.array(order.places, np.int64)[images.labels], classes=order.classes)


def misplaced(classes: Sequence[str], names: Sequence[str]) -> bool:
    """Whether two lists hold the same names, however they are written, in another order."""
    ours, theirs = [_plain(name) for name in classes], [_plain(name) for name in names]
    return ours != theirs and len(set(ours)) == len(ours) and sorted(ours) == sorted(theirs)


def _by_name(classes: Sequence[str], names: Sequence[str], source: str) -> ClassOrder | None:
    """A match by names; None if no name is the same, however it is written."""
    exact = {name: place for place, name in enumerate(names)}
    if all(name in exact for name in classes):
        return ClassOrder(tuple(names), tuple(exact[name] for name in classes))
    plain = [_plain(name) for name in names]
    if len(set(plain)) < len(plain) or len({_plain(name) for name in classes}) < len(classes):
        index = exact
    else:
        index = {name: place for place, name in enumerate(plain)}
        index = {name: index[_plain(name)] for name in classes if _plain(name) in index}
    missing = [name for name in classes if name not in index]
    if len(missing) == len(classes):
        return None
    if missing:
        near = nearest(missing[0], names)
        raise DataError(
            f"{source}: the label {missing[0]!r} is not among the {len(names)} classes of the model",
            seen=f"{len(missing)} of {len(classes)} classes are unknown to it: {some(missing)}",
            allowed=", ".join(list(names)[:12]) + (", ..." if len(names) > 12 else ""),
            next_step=f"did you mean {near!r}?" if near else "choose a model or a label column that fit",
        )
    note = f"classes of the data were matched with the model's by names that are written otherwise: {some(names)}"
    return _ordered(classes, [index[name] for name in classes], names, note)


def _plain(name: str) -> str:
    """A name without what people write in different ways: case, separators, zeros in front of a number."""
    text = re.sub(r"[\s_-]+", " ", name.strip()).casefold()
    return str(int(text)) if re.fullmatch(r"\d+", text, re.ASCII) else text


def _numbers(classes: Sequence[str]) -> list[int] | None:
    """The classes as whole numbers, where all are, and no two the same."""
    if not all(re.fullmatch(r"-?\d{1,9}", name, re.ASCII) for name in classes):
        return None
    numbers = [int(name) for name in classes]
    return numbers if len(set(numbers)) == len(numbers) else None


def _as_text(classes: Sequence[str], places: Sequence[int], count: int) -> tuple[int, ...] | None:
    """The places of numbers that were sorted as text ("10" before "2"), as readers of class folders do."""
    if len(classes) != count:
        return None
    other = tuple(sorted(range(count), key=lambda row: classes[row]).index(row) for row in range(count))
    return None if other == tuple(places) else other


def _note(classes: Sequence[str], places: Sequence[int], names: Sequence[str] | None) -> str:
    shown = [classes[row] for row in np.argsort(places)[:3]]
    if names is None:
        return f"the model does not name its classes: the data's are taken in this order: {', '.join(shown)}, …"
    return f"the model's classes ({', '.join(names[:3])}, …) are taken for the data's ({', '.join(shown)}, …), in this order"
