"""Noise that takes the place of pictures to forget."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

NoiseKind = Literal["normal", "uniform", "matched_uniform", "binary", "constant"]


def noise_like(unit: Tensor, kind: NoiseKind, generator: torch.Generator) -> Tensor:
    """Noise of independent pixels from 0 to 1 (unit: (n, 3, height, width) in the same range).

    normal: with the batch's own mean and standard deviation over all its pixels, cut off at 0 and 1; uniform: from 0 to
    1, whatever the batch; constant: its mean everywhere. These are from the code of Li et al. 2024 (arXiv:2402.00351).
    Not from it: matched_uniform, from mean - sqrt(3) std to mean + sqrt(3) std, cut off; binary, pixels black or white,
    white as often as the mean says: the largest variance with that mean.
    """
    mean, std = unit.mean(), unit.std()
    if kind == "constant":
        return mean.expand(unit.shape).clone()
    if kind == "binary":
        shades = torch.rand((len(unit), 1, *unit.shape[2:]), generator=generator) < mean
        return shades.to(unit.dtype).expand(unit.shape).clone()
    if kind == "uniform":
        return torch.rand(unit.shape, generator=generator).to(unit.dtype)
    if kind == "matched_uniform":
        drawn = (2 * torch.rand(unit.shape, generator=generator) - 1) * math.sqrt(3)
    else:
        drawn = torch.randn(unit.shape, generator=generator)
    return (mean + std * drawn).clamp(0, 1)
