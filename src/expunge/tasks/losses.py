"""Losses of features."""

from __future__ import annotations

from torch import Tensor


def squared(features: Tensor, target: Tensor) -> Tensor:
    """Mean squared difference over everything; scalar."""
    return ((features - target) ** 2).mean()
