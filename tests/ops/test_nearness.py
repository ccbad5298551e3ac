"""Distances from a set of features in numpy and float64, with the covariance written out, and at their limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.ops.nearness import distances, near, shrinkage


def ledoit_wolf(x: np.ndarray) -> float:
    """The share by its definition: sums over the outer products of all rows."""
    n, p = x.shape
    s = x.T @ x / n
    m = np.trace(s) / p
    d2 = ((s - m * np.eye(p)) ** 2).sum()
    b2 = sum(((np.outer(row, row) - s) ** 2).sum() for row in x) / n**2
    return float(min(b2, d2) / d2)


@pytest.mark.parametrize(("n", "p"), [(5, 9), (12, 3), (40, 40)])
def test_the_shrinkage_is_the_papers(n: int, p: int) -> None:
    x = np.random.default_rng(n).normal(0, 1, (n, p)) @ np.diag(np.linspace(0.5, 3, p))
    x -= x.mean(0)
    assert shrinkage(torch.tensor(x)) == pytest.approx(ledoit_wolf(x), rel=1e-10)


def by_hand(features: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, scale = features.mean(0), features.std(0)
    z, asked = (features - mean) / scale, (asked - mean) / scale
    n, p = z.shape
    share, m = ledoit_wolf(z), (z**2).sum() / n / p
    covariance = (1 - share) * z.T @ z / n + share * m * np.eye(p)
    far = np.array([row @ np.linalg.inv(covariance) @ row / p for row in asked])
    cosines = (asked @ z.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(z, axis=1)
    return far, 1 - cosines.max(1)


@pytest.mark.parametrize(("n", "p"), [(6, 20), (50, 7)], ids=["fewer than dimensions", "more"])
def test_both_distances_by_hand(n: int, p: int) -> None:
    generator = np.random.default_rng(3)
    features, asked = (
        generator.normal(2, 1, (n, p)) * np.logspace(-1, 3, p),
        generator.normal(0, 3, (8, p)) * np.logspace(-1, 3, p),
    )
    found = distances(torch.tensor(asked).view(2, 4, p), near(torch.tensor(features)))
    for own, wanted in zip(found, by_hand(features, asked), strict=True):
        assert own.shape == (2, 4)
        np.testing.assert_allclose(own.flatten().numpy(), wanted, rtol=1e-8)


def test_limits_of_distances() -> None:
    features = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    held = near(features)
    far, unlike = distances(torch.stack([features.mean(0), features[3], 1e6 * features[3]]), held)
    assert far[0] == pytest.approx(0)
    assert unlike[1] == pytest.approx(0)
    assert far[2] > 1e9
    # A constant dimension and equal features are not numbers that are not there.
    for odd in (torch.ones(4, 3), torch.cat([features, torch.ones(9, 1)], 1)):
        found = distances(odd.double(), near(odd))
        assert all(bool(each.isfinite().all()) for each in found)
