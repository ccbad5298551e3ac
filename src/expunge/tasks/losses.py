"""Losses of features."""

from __future__ import annotations

from torch import Tensor


def squared(features: Tensor, target: Tensor | None) -> Tensor:
    """Mean squared difference over everything; scalar.

    Raises:
        ValueError: the method asked for a target that it did not give.
    """
    if target is None:
        raise ValueError("the batch has no target")
    return ((features - target) ** 2).mean()
