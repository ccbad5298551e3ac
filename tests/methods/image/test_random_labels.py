"""Random labels against the formula written down again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.kinds.classifier.relabelling import substituted, wrong_labels
from expunge.methods.random_labels import RandomLabels
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of


def test_wrong_labels_are_wrong_and_all_alike_likely() -> None:
    labels = torch.arange(4).repeat(3000)
    found = wrong_labels(labels, 4, torch.Generator().manual_seed(0))
    assert not (found == labels).any()
    counts = torch.zeros(4, 4).index_put((labels, found), torch.ones(len(labels)), accumulate=True)
    off = counts[~torch.eye(4, dtype=torch.bool)]
    assert (off - 1000).abs().max() < 5 * (3000 * 2 / 9) ** 0.5
    assert wrong_labels(torch.tensor([0, 1]), 2, torch.Generator().manual_seed(0)).tolist() == [1, 0]


def test_made_pictures_take_the_place_of_real_ones() -> None:
    work = regression_work()
    made = torch.full((2, 3, 4, 4), 0.5, dtype=torch.float64)
    made[1] = -0.25
    batch = work.task.batch(work.forget, torch.tensor([6, 0, 5, 4]))
    before = batch.pixels.clone()
    result = substituted(batch, 5, made)
    assert torch.equal(result[0], made[1])
    assert torch.equal(result[2], made[0])
    assert torch.equal(result[[1, 3]], before[[1, 3]])
    assert torch.equal(batch.pixels, before)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_random_labels_by_hand(optimizer: str) -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    labels = wrong_labels(work.forget.labels, 4, work.generator("labels"))
    assert not (labels == work.forget.labels).any()
    x = np.vstack([features(work.forget), features(work.retain)])
    target = np.vstack([one_hot(labels), one_hot(work.retain.labels)])
    RandomLabels(optimizer=optimizer, learning_rate=0.01, epochs=4, batch_size=ALL).apply(work)
    for step in range(4):
        loss, gradient = sheet.cross_entropy(x, target)
        assert work.losses["relearning"][step] == pytest.approx(loss, rel=1e-10)
        (sheet.adam if optimizer == "adam" else sheet.sgd)(gradient, 0.01)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-8, atol=1e-12)
    assert work.cost.passes == 3 * 4 * (12 + 7)
