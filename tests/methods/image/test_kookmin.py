"""Kookmin's choice of weights, their new values, and the slowed repair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from expunge.methods.kookmin import Kookmin, renewable, rise_and_fall
from image_transcription import double_work, inputs, logits, numbers, twin
from small_images import tiny_vit


def test_the_weights_of_smallest_gradient_are_reinitialised_and_the_rest_stays() -> None:
    work = double_work()
    model = twin(work)
    some = torch.randperm(48, generator=work.generator("part"))[:8]
    before = [weight.detach().clone() for weight in renewable(work.model)]
    scales = Kookmin().renew(work, renewable(work.model))
    kept = F.cross_entropy(logits(model, inputs(work, work.retain)[some]), work.retain.labels[some])
    lost = F.cross_entropy(logits(model, inputs(work, work.forget)), work.forget.labels)
    convolutions = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d)]
    gradients = torch.autograd.grad(kept - lost, convolutions)
    assert len(before) == len(gradients) > 3
    for old, new, gradient, scale in zip(before, renewable(work.model), gradients, scales, strict=True):
        size = np.abs(gradient.numpy()).ravel()
        chosen = np.zeros(len(size), bool)
        chosen[np.argsort(size, kind="stable")[: round(0.3 * len(size))]] = True
        np.testing.assert_array_equal(scale.numpy().ravel(), np.where(chosen, 1.0, 0.1))
        np.testing.assert_array_equal((old != new).detach().numpy().ravel(), chosen)


def test_new_values_have_he_s_size() -> None:
    work = double_work()
    weight = renewable(work.model)[-1]
    Kookmin(renewed_share=1).renew(work, [weight])
    fan_out = weight.shape[0] * weight.shape[2] * weight.shape[3]
    assert weight.std().item() == pytest.approx(np.sqrt(2 / fan_out), rel=0.15)
    assert abs(weight.mean().item()) < 0.3 * np.sqrt(2 / fan_out)


def test_rates_are_those_of_the_notebook() -> None:
    assert rise_and_fall(3.0, 5) == pytest.approx([1, 2, 3, 2, 1])
    assert rise_and_fall(1.0, 1) == [1.0]
    assert rise_and_fall(1.0, 2) == pytest.approx([1, 0.5])


def test_the_repair_slows_what_was_kept() -> None:
    work, chosen = double_work(), double_work()
    method = Kookmin(epochs=2)
    method.apply(work)
    scales = method.renew(chosen, renewable(chosen.model))
    model = chosen.model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    for rate in (1e-3, 5e-4):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.cross_entropy(logits(model, inputs(chosen, chosen.retain)), chosen.retain.labels).backward()
        for weight, scale in zip(renewable(model), scales, strict=True):
            assert weight.grad is not None
            weight.grad *= scale
        optimizer.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-9, atol=1e-12)
    assert work.cost.passes == 3 * (8 + 8 + 2 * 48)


def test_nothing_is_renewed_with_a_share_of_0() -> None:
    work = double_work()
    before = numbers(work.model)
    Kookmin(renewed_share=0).renew(work, renewable(work.model))
    np.testing.assert_array_equal(numbers(work.model), before)


def test_layers_of_a_transformer() -> None:
    model = tiny_vit().model
    sizes = [tuple(weight.shape) for weight in renewable(model)]
    assert sizes[0] == (16, 3, 8, 8)
    assert len(sizes) == 1 + 2 * 6
    assert (4, 16) not in sizes
