"""Losses of features."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Distance = Literal["squared", "euclidean"]

EASE = 1e-3
"mean square below which a Euclidean distance bends, to a slope of 0 where nothing is apart; features have about 1"


def squared(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over everything; scalar."""
    return ((features - target) ** 2).mean()


def euclidean(features: Tensor, target: Tensor) -> Tensor:
    """Mean over all vectors of the root mean square of their differences, sqrt(mean(d^2) + EASE) - sqrt(EASE); scalar.

    A vector is that of a token, or of a place of a map (batch, channels, height, width), or a whole picture where
    that is one row.
    """
    differences = (features - target) ** 2
    return (differences.mean(1 if features.ndim == 4 else -1) + EASE).sqrt().mean() - EASE**0.5


DISTANCES = {"squared": squared, "euclidean": euclidean}


def over_maps(
    apart: Callable[[Tensor, Tensor], Tensor], split: Callable[[Tensor], list[Tensor]], features: Tensor, target: Tensor
) -> Tensor:
    """Sum of a distance over the maps that `split` makes of features and target; scalar."""
    parts = [apart(ours, wanted) for ours, wanted in zip(split(features), split(target), strict=True)]
    return sum(parts[1:], parts[0])
