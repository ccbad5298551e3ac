"""Labels from a column: its values as classes, or a number cut into equal ranges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from expunge.data.images.image_set import UNLABELLED
from expunge.data.images.listing import Listing, some
from expunge.data.images.table import missing_column
from expunge.errors import DataError


def labels_of(listing: Listing, label: str | None, bins: int | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels (n,) int64 of every row, and the classes they index, from column `label` or the listing's own.

    Numbers are in numerical order, text in alphabetical.

    Raises:
        DataError: no such column, rows without a value, numbers with fractions and no `bins`, an index out of range.
    """
    if bins is not None and label is None:
        raise DataError(
            "bins cut a column of numbers, and none is named",
            seen=f"bins {bins}",
            next_step="name the column, such as label: age",
        )
    name = label if label is not None else listing.label
    if name is None:
        return np.zeros(len(listing.ids), np.int64), UNLABELLED
    if name not in listing.columns:
        raise missing_column(name, list(listing.columns), listing.source)
    column = listing.columns[name]
    _refuse_gaps(column, name, listing)
    if bins is not None:
        return cut(column, name, bins, listing.source)
    if listing.class_names and name in listing.class_names:
        return _checked_indices(column, listing.class_names[name], name, listing), listing.class_names[name]
    if column.dtype.kind == "f" and (np.mod(column, 1) != 0).any():
        raise DataError(
            f"{listing.source}: the column {name!r} is not a label: its numbers have fractions",
            seen=some([f"{value:g}" for value in column]),
            allowed="whole numbers or text",
            next_step="give bins, such as 10, to cut it into classes",
        )
    values, labels = np.unique(column, return_inverse=True)
    classes = tuple(str(int(value)) if column.dtype.kind == "f" else str(value) for value in values)
    return labels.reshape(-1).astype(np.int64), classes


def _refuse_gaps(column: np.ndarray, name: str, listing: Listing) -> None:
    gaps = np.flatnonzero(np.isnan(column) if column.dtype.kind == "f" else column == "")
    if len(gaps):
        raise DataError(
            f"{listing.source}: {len(gaps)} of {len(column)} pictures have no value in the label column {name!r}",
            seen=some([listing.ids[int(row)] for row in gaps]),
            next_step="fill in the labels, or remove the rows",
        )


def _checked_indices(column: np.ndarray, names: Sequence[str], name: str, listing: Listing) -> np.ndarray:
    outside = np.flatnonzero((column < 0) | (column >= len(names))) if column.dtype.kind == "i" else np.arange(1)
    if len(outside):
        row = int(outside[0])
        raise DataError(
            f"{listing.source}: {len(outside)} labels in {name!r} are out of range, first that of {listing.ids[row]}",
            seen=column[row],
            allowed=f"0 to {len(names) - 1} ({some(names)})",
            next_step="repair the labels, or remove the rows that have none",
        )
    return column


def cut(column: np.ndarray, name: str, bins: int, source: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Equal ranges from the least value to the greatest and one: the classes of the 2023 unlearning challenge.

    Returns labels (n,) int64 and the names of the ranges, such as `0 to 11`. Raises DataError for a column of text.
    """
    if column.dtype.kind not in "if":
        raise DataError(
            f"{source}: the column {name!r} holds text and cannot be cut into bins",
            seen=repr(str(column[0])),
            allowed="a column of numbers",
        )
    edges = np.linspace(column.min(), column.max() + 1, bins + 1)
    labels = np.digitize(column, edges[1:-1]).astype(np.int64)
    spans = [(math.ceil(low), math.ceil(high) - 1) for low, high in pairwise(edges)]
    if column.dtype.kind == "i" and all(low <= high for low, high in spans):
        return labels, tuple(f"{low} to {high}" for low, high in spans)
    return labels, tuple(f"{low:.4g} to {high:.4g}" for low, high in pairwise(edges))


def refuse_one_class(labels: np.ndarray, classes: tuple[str, ...], source: str) -> None:
    """Raise if all pictures have one label, unless they are unlabelled on purpose."""
    if classes != UNLABELLED and len(np.unique(labels)) < 2:
        raise DataError(
            f"all {len(labels)} pictures of {source} are of one class",
            seen=classes[int(labels[0])],
            allowed="two classes or more; or pictures without labels: a folder without class folders, a file "
            "without a label column",
            next_step="name another label column, read more rows, or remove the labels",
        )
