"""Fisher forgetting: the information by hand, the noise's size, and its draws."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.methods.fisher import Fisher
from expunge.ops.layers import head
from image_transcription import double_work, gradient, inputs, logits, numbers, twin


def test_the_information_in_numpy() -> None:
    work = double_work(retain=6)
    model = twin(work).eval()
    log_p = logits(model, inputs(work, work.retain)).log_softmax(-1)
    wanted = 0.0
    for i in range(6):
        for label in range(4):
            wanted = wanted + log_p[i, label].exp().item() * gradient(model, log_p[i, label]) ** 2 / 6
    found = torch.cat([each.flatten() for each in Fisher().information(work)]).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-8, atol=1e-16)
    assert work.cost.passes == 6 * (1 + 2 * 4)


def test_the_whole_update() -> None:
    work = double_work(retain=6)
    model = twin(work)
    information = Fisher().information(double_work(retain=6))
    Fisher(alpha=3e-4).apply(work)
    generator = work.generator("noise")
    own = {id(p) for p in head(model).parameters()}
    wanted = []
    for parameter, found in zip(model.parameters(), information, strict=True):
        variance = np.minimum(1 / (found.numpy() + 1e-8), 100 if id(parameter) in own else 1000) * 3e-4
        if variance.ndim > 1:
            variance = np.broadcast_to(variance.mean(1, keepdims=True), variance.shape)
        if variance.ndim == 1 or id(parameter) in own:
            variance = variance * 10
        drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).numpy()
        wanted.append((parameter.detach().numpy() + np.sqrt(variance) * drawn).ravel())
    np.testing.assert_allclose(numbers(work.model), np.concatenate(wanted), rtol=1e-8, atol=1e-12)


def test_variances_by_hand() -> None:
    method = Fisher(alpha=0.5)
    information = torch.tensor([[1.0, 0.25], [0.0, 0.01]], dtype=torch.float64)
    assert method.variance(information, in_head=False).flatten().tolist() == pytest.approx([1.25, 1.25, 275, 275])
    assert method.variance(information, in_head=True).flatten().tolist() == pytest.approx([12.5, 12.5, 500, 500])
    assert method.variance(information[0], in_head=False).tolist() == pytest.approx([5, 20])


def test_a_part_of_the_pictures_and_another_seed() -> None:
    results = []
    for seed in (0, 0, 1):
        work = double_work(seed=seed)
        Fisher(pictures=4, batch_size=2).apply(work)
        assert work.cost.passes == 4 * (1 + 2 * 4)
        results.append(numbers(work.model))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-6
