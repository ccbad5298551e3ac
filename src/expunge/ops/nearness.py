"""Nearness of a feature to a set of features: its distance from their distribution, and the angle to the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-6
"share of the mean variance that no variance is taken to be below"


@dataclass(frozen=True, slots=True)
class Near:
    """A set of features to compare another feature with.

    Attributes:
        mean, scale: (width,) of the features; each dimension is first centred and divided by its standard deviation: of
            a language model a few dimensions are a thousand times larger than the others.
        directions: (features, width) orthonormal rows, and rows of zeros where there are fewer directions.
        variances: (features,) along them, shrunk.
        floor: () the variance across them.
        bank: (features, width) the scaled features, of length 1.
    """

    mean: Tensor
    scale: Tensor
    directions: Tensor
    variances: Tensor
    floor: Tensor
    bank: Tensor


def shrinkage(centred: Tensor) -> float:
    r"""The share of the identity in a covariance that lies nearest to the true one (Ledoit and Wolf 2004, equations 8 to 13).

    $$\rho = \min\left(1, \frac{b^2}{d^2}\right), \qquad d^2 = \lVert S - m I \rVert^2, \qquad
      b^2 = \frac{1}{n^2} \sum_k \lVert x_k x_k^\top - S \rVert^2, \qquad m = \frac{\mathrm{tr}\, S}{p}$$

    Args:
        centred: (n, p). 1 where all are equal.
    """
    n, p = centred.shape
    gram = centred @ centred.T / n
    trace, square = gram.trace(), gram.square().sum()
    apart = square - trace.square() / p
    if not apart > 0:
        return 1.0
    error = centred.square().sum(1).square().sum() / n**2 - square / n
    return float((error / apart).clamp(0, 1))


def near(features: Tensor) -> Near:
    """What (n, width) features are held against; computed in float64, of at least two."""
    wide = features.double()
    mean, scale = wide.mean(0), wide.std(0, correction=0)
    scale = scale.clamp(min=float(scale.max()) * SMALLEST) if bool((scale > 0).any()) else torch.ones_like(scale)
    centred = (wide - mean) / scale
    n, width = centred.shape
    share, average = shrinkage(centred), float(centred.square().sum() / n / width) or 1.0
    values, vectors = torch.linalg.eigh(centred @ centred.T / n)
    there = values > max(float(values.max()), 0.0) * 1e-10
    lengths = torch.where(there, values, torch.ones_like(values)).mul(n).sqrt()
    directions = (vectors.T @ centred / lengths[:, None]) * there[:, None]
    floor = max(share, SMALLEST) * average
    variances = torch.where(there, (1 - share) * values + floor, torch.ones_like(values))
    return Near(mean, scale, directions, variances, torch.tensor(floor, dtype=torch.float64), unit(centred))


def unit(values: Tensor) -> Tensor:
    """Vectors of length 1 along the last dimension; 0 of 0."""
    return values / values.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(values.dtype).tiny)


def distances(features: Tensor, held: Near) -> tuple[Tensor, Tensor]:
    r"""(Mahalanobis distance squared a dimension, 1 - the largest cosine) of (..., width) features, both (...).

    $$\frac{1}{p} z^\top \left((1 - \rho) S + \rho m I\right)^{-1} z, \qquad 1 - \max_i \cos(z, z_i)$$
    """
    z = (features - held.mean) / held.scale
    along = (z @ held.directions.T).square()
    across = (z.square().sum(-1) - along.sum(-1)).clamp(min=0)
    square = (along / held.variances).sum(-1) + across / held.floor
    return square / z.shape[-1], 1 - (unit(z) @ held.bank.T).amax(-1)
