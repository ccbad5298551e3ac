"""UNSIR against its formulas written down again."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.methods.unsir import Unsir
from image_transcription import double_work, logits, twin
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


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_noise_is_learned_with_batch_normalisation_going_by_it_or_not(mode: Literal["train", "eval"]) -> None:
    """With a network that was just built, as the authors' is, normalisation goes by the noise in a batch."""
    work = double_work()
    model = twin(work).train(mode == "train")
    before = {name: value.clone() for name, value in work.original.model.state_dict().items()}
    method = (
        Unsir(noise_size=6, noise_steps=5) if mode == "train" else Unsir(noise_size=6, noise_steps=5, noise_mode=mode)
    )
    found = method.noise(work, 1)
    noise = torch.randn((6, *work.forget.pixels.shape[1:]), generator=work.generator("noise", 1)).double()
    noise.requires_grad_()
    optimizer = torch.optim.Adam([noise], lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        nll = F.cross_entropy(logits(model, noise), torch.full((6,), 1))
        (-nll + 0.1 * (noise**2).flatten(1).sum(1).mean()).backward()
        optimizer.step()
    np.testing.assert_allclose(found.numpy(), noise.detach().numpy(), rtol=1e-6, atol=1e-9)
    assert all(torch.equal(value, before[name]) for name, value in work.original.model.state_dict().items())


def test_so_many_noise_pictures_as_the_authors_loop_puts() -> None:
    """Three of the 256 a class, twenty times: 60, where all of them would be 5,120."""
    work = double_work()
    sizes = {}
    for used in (3, None):
        method = Unsir(noise_size=8, noise_steps=1, noise_used=used, retain_per_class=1)
        noise = method.noise(work, 1)
        sizes[used] = len(noise)
        assert torch.equal(noise, Unsir(noise_size=8, noise_steps=1).noise(work, 1)[:used])
    assert sizes == {3: 3, None: 8}
    classes = len(work.forget.labels.unique())
    work.cost.passes = 0
    Unsir(noise_size=8, noise_steps=1, noise_used=3, retain_per_class=1).apply(work)
    kept = work.classes
    assert work.cost.passes == classes * 3 * 8 + 3 * (classes * 60 + kept) + 3 * kept
