"""Pictures with labels, names and columns, held as arrays."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from expunge.errors import DataError

UNLABELLED = ("all",)
"the classes of pictures without labels"
CHUNK = 1024
"pictures digested at once"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageSet:
    """Pictures of one size. Raises DataError where two have one id."""

    pixels: np.ndarray
    "(n, height, width, 3) uint8, red green blue; may be a read-only memory map"
    labels: np.ndarray
    "(n,) int64, index into `classes`; zeros where the data has none"
    ids: tuple[str, ...]
    "what a forget list calls each picture: its path inside the data, or its index; unique"
    columns: Mapping[str, np.ndarray]
    "everything else known about each picture, each (n,) int64, float64 or text"
    classes: tuple[str, ...]
    "names of the classes; `UNLABELLED` where the data has none"
    source: str
    "where the pictures come from, as shown to people"
    notes: tuple[str, ...] = ()
    "what was passed over while reading"

    def __post_init__(self) -> None:
        count = len(self.ids)
        if len(set(self.ids)) < count:
            twice = Counter(self.ids).most_common(1)[0][0]
            raise DataError(
                f"{self.source} names two pictures {twice}",
                seen=f"{count - len(set(self.ids))} of {count} ids occur before",
                allowed="one id for each picture",
                next_step="remove the repeated row, or give each picture its own id",
            )

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def labelled(self) -> bool:
        return self.classes != UNLABELLED

    def take(self, rows: np.ndarray) -> ImageSet:
        """These pictures, in this order; a run of neighbours shares the pixels, others are copied."""
        rows = np.asarray(rows, dtype=np.int64)
        run = len(rows) > 0 and rows[0] >= 0 and np.array_equal(rows, np.arange(rows[0], rows[0] + len(rows)))
        return replace(
            self,
            pixels=self.pixels[rows[0] : rows[0] + len(rows)] if run else self.pixels[rows],
            labels=self.labels[rows],
            ids=tuple(self.ids[row] for row in rows),
            columns={name: column[rows] for name, column in self.columns.items()},
            notes=(),
        )

    def digest(self) -> str:
        """sha256, hex, over pixels, labels and ids."""
        sha = hashlib.sha256(repr((self.pixels.shape, self.ids)).encode())
        for start in range(0, len(self), CHUNK):
            sha.update(np.ascontiguousarray(self.pixels[start : start + CHUNK]).data)
        sha.update(np.ascontiguousarray(self.labels.astype("<i8")).data)
        return sha.hexdigest()
