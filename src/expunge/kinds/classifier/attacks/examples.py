"""The pictures of an audit of a classifier with their true class, in two halves, and how well a model knows them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.audit import first_half

FEWEST = 8
"minimum number of pictures: half of them are held back"


@dataclass(frozen=True, eq=False)
class Examples:
    """Pictures to ask a model about.

    An attacker is given the first half of each class, and the second is held back. If it is known who is on
    them, all pictures of one class and person are on one side; else neighbours are.
    """

    pictures: Pictures
    ids: tuple[str, ...]
    people: tuple[str, ...] | None = None
    "the person on each, if the data has it"

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def given(self) -> list[int]:
        """Numbers of the pictures that an attacker trains on."""
        labels = self.pictures.labels.numpy()
        found: list[int] = []
        odd = 0
        for label in np.unique(labels):
            rows = np.flatnonzero(labels == label)
            if self.people is not None and len({self.people[row] for row in rows}) > 1:
                found += rows[first_half([self.people[row] for row in rows])].tolist()
                continue
            found += rows[: (len(rows) + odd) // 2].tolist()
            odd ^= len(rows) % 2  # every second class with an odd number gives its middle picture
        return sorted(found)

    @cached_property
    def held_back(self) -> list[int]:
        """Numbers of the others."""
        return sorted(set(range(len(self))) - set(self.given))

    @cached_property
    def digest(self) -> str:
        """sha256, hex, of pixels, labels and ids."""
        sha = hashlib.sha256(repr((tuple(self.pictures.pixels.shape), self.ids)).encode())
        for each in (self.pictures.pixels, self.pictures.labels):
            sha.update(np.ascontiguousarray(each.numpy()).data)
        return sha.hexdigest()

    def some(self, numbers: list[int]) -> Pictures:
        """The pictures of these numbers."""
        return self.pictures.take(torch.tensor(numbers, dtype=torch.int64))


def evenly(count: int, wanted: int) -> np.ndarray:
    """At most `wanted` rows of `count`, evenly spread."""
    return np.arange(count) if count <= wanted else np.arange(wanted) * count // wanted


def matched(labels: np.ndarray, others: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of two sets with the same number of each class, at most `wanted` of each set.

    Both are in the order of their classes. Rows without a counterpart are left out.
    """
    rows: list[np.ndarray] = []
    partners: list[np.ndarray] = []
    for label in np.unique(labels):
        own, other = np.flatnonzero(labels == label), np.flatnonzero(others == label)
        most = min(len(own), len(other))
        rows.append(own[evenly(len(own), most)])
        partners.append(other[evenly(len(other), most)])
    one, two = np.concatenate(rows), np.concatenate(partners)
    chosen = evenly(len(one), wanted)
    return one[chosen], two[chosen]


def known(task: ImageClassifier, pictures: Pictures) -> list[float]:
    """(pictures,) the probability that a model gives the true class, from 0 to 1; 0 if its outputs are not numbers."""
    p = task.outputs(pictures).cpu().double().softmax(-1)
    values = p.gather(1, pictures.labels[:, None])[:, 0]
    return [float(value) for value in torch.nan_to_num(values, nan=0.0)]
