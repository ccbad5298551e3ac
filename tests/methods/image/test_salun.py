"""SalUn against its formulas written down again, and that frozen weights are frozen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.kinds.classifier.relabelling import wrong_labels
from expunge.kinds.classifier.session import Work
from expunge.methods.random_labels import RandomLabels
from expunge.methods.salun import Salun, salient
from small_images import small_work, tiny_resnet
from softmax_regression import ALL, Sheet, features, one_hot, regression_work, weights_of


def by_hand(work: Work, share: float, alpha: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights at the end, and the mask; written with the gradient masked and no decay outside, so another way."""
    sheet = Sheet(work.model)
    x_f, x_r = features(work.forget), features(work.retain)
    size = abs(sheet.cross_entropy(x_f, one_hot(work.forget.labels))[1])
    mask = size >= np.sort(size.ravel())[::-1][round(share * size.size) - 1]
    labels = wrong_labels(work.forget.labels, 4, work.generator("labels"))
    weight = len(x_f) + len(x_r)
    velocity = np.zeros_like(sheet.theta)
    for _ in range(steps):
        lost = sheet.cross_entropy(x_f, one_hot(labels))[1] * len(x_f)
        kept = sheet.cross_entropy(x_r, one_hot(work.retain.labels))[1] * len(x_r)
        velocity = np.where(mask, 0.9 * velocity + (lost + alpha * kept) / weight + 1e-2 * sheet.theta, 0)
        sheet.theta = sheet.theta - 0.1 * velocity
    return sheet.theta, mask


@pytest.mark.parametrize(("share", "alpha"), [(0.5, 1.0), (0.1, 0.3)])
def test_salun_by_hand(share: float, alpha: float) -> None:
    work = regression_work()
    before = weights_of(work.model)
    theta, mask = by_hand(work, share, alpha, 5)
    assert mask.sum() == round(share * mask.size)
    method = Salun(share=share, alpha=alpha, epochs=5, learning_rate=0.1, weight_decay=1e-2, batch_size=ALL)
    method.apply(work)
    after = weights_of(work.model)
    np.testing.assert_allclose(after, theta, rtol=1e-9, atol=1e-12)
    assert np.array_equal(after == before, ~mask)


def test_all_weights_salient_is_random_labels() -> None:
    settings = {"epochs": 3, "learning_rate": 0.05, "weight_decay": 1e-3, "batch_size": 8}
    results = []
    for method in (Salun(share=1.0, **settings), RandomLabels(optimizer="sgd", **settings)):
        work = regression_work()
        method.apply(work)
        results.append(weights_of(work.model))
    np.testing.assert_allclose(*results, rtol=1e-12)


def test_frozen_weights_stay_to_the_bit_in_a_network() -> None:
    work = small_work(tiny_resnet())
    before = {name: p.detach().clone() for name, p in work.model.named_parameters() if p.requires_grad}
    method = Salun(share=0.3, epochs=4, learning_rate=0.1, weight_decay=0.1, batch_size=16)
    masks = salient(method._gradient(work), 0.3)
    method.apply(work)
    for (name, parameter), mask in zip(work.model.named_parameters(), masks, strict=True):
        assert torch.equal(parameter[~mask], before[name][~mask]), name
    moved = sum(int((p != before[name]).sum()) for name, p in work.model.named_parameters() if p.requires_grad)
    assert 0.9 * int(sum(mask.sum() for mask in masks)) < moved


def test_the_largest_gradients_over_all_layers() -> None:
    found = salient([torch.tensor([[1.0, -5.0], [0.0, 2.0]]), torch.tensor([-3.0, 2.0])], 0.5)
    assert found[0].tolist() == [[False, True], [False, True]]
    assert found[1].tolist() == [True, False]  # of the two 2s the first
