"""The perceptual distance against its equation, and through networks of several kinds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.kinds.generator.feature_network import perceptual_distances


def written_out(ours: list[np.ndarray], theirs: list[np.ndarray], number: int) -> float:
    """Equation 1 of Zhang et al. 2018 with weights 1, as loops over layers, rows, columns and channels."""
    total = 0.0
    for a, b in zip(ours, theirs, strict=True):
        _, channels, height, width = a.shape
        of_layer = 0.0
        for h in range(height):
            for w in range(width):
                one, other = a[number, :, h, w], b[number, :, h, w]
                long, longer = sum(v * v for v in one) ** 0.5, sum(v * v for v in other) ** 0.5
                of_layer += sum((one[c] / long - other[c] / longer) ** 2 for c in range(channels))
        total += of_layer / (height * width)
    return total


def flat(layers: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(layer).flatten(2) for layer in layers]


def test_it_is_the_equation() -> None:
    generator = np.random.default_rng(0)
    shapes = [(3, 4, 5, 5), (3, 7, 2, 3), (3, 2, 1, 1)]
    ours, theirs = ([generator.normal(size=shape) for shape in shapes] for _ in range(2))
    found = perceptual_distances(flat(ours), flat(theirs))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([written_out(ours, theirs, number) for number in range(3)], rel=1e-12)


def test_its_limits() -> None:
    a = torch.tensor([[[1.0, 0.0], [0.0, 2.0]]], dtype=torch.float64)
    assert perceptual_distances([a, a], [a, a]).tolist() == [0]
    assert perceptual_distances([a], [5 * a]).tolist() == [0]  # the length of features does not count
    assert perceptual_distances([a, a], [-a, -a]).tolist() == [8]  # opposite in both layers
    assert perceptual_distances([a], [0 * a]).tolist() == [1]
    assert perceptual_distances([0 * a], [0 * a]).tolist() == [0]
    right = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
    assert perceptual_distances([a], [right]).tolist() == [1]  # a right angle (2) at one of two places
