"""UNSIR against its formulas written down again."""

from __future__ import annotations

import numpy as np
import torch

from expunge.methods.unsir import Unsir
from softmax_regression import (
    ALL,
    Sheet,
    features,
    finite_difference,
    log_softmax,
    one_hot,
    regression_work,
    weights_of,
)

SETTINGS = {"noise_size": 3, "noise_steps": 6, "noise_repeats": 2, "retain_per_class": 2, "batch_size": ALL}


def test_unsir_by_hand() -> None:
    work = regression_work()
    sheet = Sheet(work.model)
    classes = sorted(set(work.forget.labels.tolist()))
    x_n, y_n = [], []
    for label in classes:
        noise = torch.randn(3, 3, 4, 4, generator=work.generator("noise", label)).double().numpy().reshape(3, -1)
        first = second = np.zeros_like(noise)
        for step in range(1, 7):  # Adam on -CE + 0.1 * mean of squared norms
            gradient = -(sheet.p(noise) - one_hot(np.full(3, label))) @ sheet.theta[:, :-1] / 3 + 0.2 * noise / 3
            first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
            noise = noise - 0.1 * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        x_n.append(noise)
        y_n.append(np.full(3, label))
    kept = Unsir(**SETTINGS)._part(work)
    assert np.bincount(kept.labels.numpy()).max() == 2
    x_r, y_r = features(kept), one_hot(kept.labels)
    x = np.vstack([x_r] + x_n * 2)
    y = np.vstack([y_r, one_hot(np.concatenate(y_n * 2))])
    Unsir(**SETTINGS, impair_epochs=3, repair_epochs=2).apply(work)
    for _ in range(3):
        sheet.adam(sheet.cross_entropy(x, y)[1], 0.02)
    sheet.forget_velocity()
    for _ in range(2):
        sheet.adam(sheet.cross_entropy(x_r, y_r)[1], 0.01)
    np.testing.assert_allclose(weights_of(work.model), sheet.theta, rtol=1e-7, atol=1e-10)
    assert work.cost.passes == 3 * (3 * 6 * len(classes) + 3 * len(x) + 2 * len(x_r))


def test_the_gradient_of_the_noise_by_finite_differences() -> None:
    work = regression_work()
    noise = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([1, 1])
    method = Unsir(noise_penalty=0.3)
    (gradient,) = torch.autograd.grad(method.noise_loss(work.model(noise), labels, noise), noise)
    sheet = Sheet(work.model)

    def loss(place: np.ndarray) -> float:
        nll = -log_softmax(sheet.logits(place))[:, 1].mean()
        return -nll + 0.3 * (place**2).sum() / 2

    found = finite_difference(loss, noise.detach().numpy().reshape(2, -1))
    np.testing.assert_allclose(gradient.numpy().reshape(2, -1), found, rtol=1e-6, atol=1e-8)


def test_noise_without_penalty_is_what_the_original_is_most_wrong_about() -> None:
    work = regression_work()
    noise = Unsir(noise_size=4, noise_steps=60, noise_penalty=0.0).noise(work, 2)
    assert work.original.logits_of(noise).softmax(-1)[:, 2].max() < 1e-3
