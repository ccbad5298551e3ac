"""A detector's weight in numpy and float64, from what makes it to the logistic curve."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.models.detector import Detector, made, shapes


def by_hand(features: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(squared distance a dimension under the shrunk covariance, 1 - largest cosine) of scaled rows."""
    mean, scale = features.mean(0), features.std(0)
    z, asked = (features - mean) / scale, (asked - mean) / scale
    n, p = z.shape
    s = z.T @ z / n
    m = np.trace(s) / p
    share = sum(((np.outer(row, row) - s) ** 2).sum() for row in z) / n**2 / ((s - m * np.eye(p)) ** 2).sum()
    covariance = (1 - min(share, 1)) * s + min(share, 1) * m * np.eye(p)
    far = np.array([row @ np.linalg.inv(covariance) @ row / p for row in asked])
    cosines = (asked @ z.T) / np.linalg.norm(asked, axis=1)[:, None] / np.linalg.norm(z, axis=1)
    return far, 1 - cosines.max(1)


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside another set"])
def test_a_detectors_weight_by_hand(beside: bool) -> None:
    """Every other text makes it, the others say what is usual, and of both sets where the boundary is."""
    generator = np.random.default_rng(1)
    features = generator.normal(0, 1, (24, 2, 6)) * np.array([1.0, 5.0])[None, :, None]
    others = generator.normal(0.5, 1.5, (16, 2, 6))
    texts, of_others = np.repeat(np.arange(8), 3), np.repeat(np.arange(4), 4)
    given = [(torch.tensor(each), torch.tensor(of)) for each, of in ((features, texts), (others, of_others))]
    tensors = made(given[0], given[1] if beside else None)
    back, others_back = texts % 2 == 1, of_others % 2 == 1

    def figures(of: np.ndarray) -> np.ndarray:
        found = []
        for layer in range(2):
            both = np.stack(by_hand(features[~back, layer], of[:, layer]), -1)
            found.append(both - np.stack(by_hand(others[~others_back, layer], of[:, layer]), -1) if beside else both)
        return np.stack(found)

    usual = figures(features[back])
    mean, spread = usual.mean(1, keepdims=True), usual.std(1, keepdims=True)

    def score(of: np.ndarray) -> np.ndarray:
        return np.asarray(((figures(of) - mean) / spread).mean((0, 2)))

    own, theirs = score(features[back]), score(others[others_back])
    # The point that is as many deviations above one mean as it is below the other.
    boundary = (theirs.mean() - own.mean()) / (own.std() + theirs.std()) if beside else 3.0
    assert Detector(tensors, None, 2.0).boundary == pytest.approx(boundary, rel=1e-4)
    detector = Detector(tensors, boundary=1.5, steepness=2.0)
    asked = generator.normal(0, 1.2, (5, 2, 6))
    z = (score(asked) - own.mean()) / own.std()
    parts = [detector.part(layer, torch.tensor(asked[:, layer])) for layer in range(2)]
    found = detector.weight(parts[0] + parts[1]).double().numpy()
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-2 * (1.5 - z))), rtol=2e-3)
    assert {name: tuple(each.shape) for name, each in detector.tensors.items()} == shapes(detector.tensors)
    assert shapes({"mean": torch.zeros(2, 6)}) == {}


def test_of_few_texts_every_other_place_is_held_back() -> None:
    features = torch.randn(10, 1, 4, generator=torch.Generator().manual_seed(0))
    assert made((features, torch.zeros(10)))["bank"].shape == (1, 5, 4)
    assert made((features, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 8])))["bank"].shape == (1, 6, 4)
