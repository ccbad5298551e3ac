"""Choosing weights by size."""

from __future__ import annotations

import torch
from torch import Tensor


def smallest(values: Tensor, share: float) -> Tensor:
    """Mask of the `share` of values that are smallest in absolute terms, rounded to whole ones; the shape of `values`."""
    flat = values.detach().abs().flatten()
    mask = torch.zeros(flat.shape, dtype=torch.bool, device=flat.device)
    mask[flat.topk(round(share * flat.numel()), largest=False).indices] = True
    return mask.view(values.shape)


def quantile(values: Tensor, share: float) -> float:
    """The value below which a share of `values` lies, between neighbours by linear interpolation; of any length.

    `torch.quantile` refuses more than 16 million values.
    """
    ordered = values.flatten().sort().values
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 1)
    above = min(below + 1, len(ordered) - 1)
    low, high = float(ordered[below]), float(ordered[above])
    return low + (place - below) * (high - low)
