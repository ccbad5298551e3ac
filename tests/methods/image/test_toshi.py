"""Toshi's transposed kernels and its repair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from expunge.errors import DataError
from expunge.kinds.classifier.task import Pictures
from expunge.methods.toshi import Toshi, guessed, transpose
from image_transcription import double_work, frozen_state, inputs, logits, numbers, twin


def test_kernels_are_transposed_and_nothing_else() -> None:
    work = double_work()
    before = frozen_state(work.model)
    transpose(work.model)
    turned = 0
    for name, value in work.model.state_dict().items():
        if value.ndim == 4:
            for h in range(value.shape[2]):
                for w in range(value.shape[3]):
                    assert torch.equal(value[:, :, h, w], before[name][:, :, w, h])
            turned += value.shape[2] > 1
        else:
            assert torch.equal(value, before[name])
    assert turned > 3
    transpose(work.model)
    assert all(torch.equal(value, before[name]) for name, value in work.model.state_dict().items())


def test_a_kernel_that_is_not_square_stays() -> None:
    layer = nn.Conv2d(2, 2, (1, 3))
    before = layer.weight.detach().clone()
    transpose(nn.Sequential(layer))
    assert torch.equal(layer.weight, before)


def test_the_whole_course() -> None:
    work = double_work()
    model = twin(work)
    Toshi().apply(work)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.weight = nn.Parameter(module.weight.swapaxes(2, 3).clone())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(logits(model, inputs(work, work.retain)), work.retain.labels).backward()
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-9, atol=1e-12)
    assert work.cost.passes == 3 * 3 * 48


def test_guesses_are_drawn_from_what_is_answered_to_the_same_class() -> None:
    work = double_work(forget=400)
    held, drawn = work.validation, work.forget.labels
    assert held is not None
    answers = logits(twin(work).eval(), inputs(work, held)).argmax(-1)
    found = guessed(work)
    for label in range(4):
        known, given = answers[held.labels == label], found[drawn == label]
        assert set(given.tolist()) == set(known.tolist())
        shares = [(values == known[0]).double().mean().item() for values in (known, given)]
        assert shares[0] == pytest.approx(shares[1], abs=0.2)
    assert torch.equal(found, guessed(work)), "drawn once and for all"
    assert torch.equal(drawn, work.forget.labels), "the set itself stays"
    assert not torch.equal(found, guessed(double_work(forget=400, seed=1)))


def test_a_class_that_nothing_is_held_back_of_keeps_its_label() -> None:
    work = double_work()
    assert work.validation is not None
    some = work.validation.labels != 2
    work.validation = Pictures(pixels=work.validation.pixels[some], labels=work.validation.labels[some])
    found = guessed(work)
    assert (found[work.forget.labels == 2] == 2).all()
    work.validation = None
    with pytest.raises(DataError, match="no held-back pictures"):
        Toshi(half="guessed").apply(work)


def test_the_whole_course_of_the_other_half() -> None:
    work = double_work()
    model, labels, before = twin(work), guessed(double_work()), frozen_state(work.model)
    Toshi(half="guessed", batch_size=1000).apply(work)
    assert any(not torch.equal(value, before[name]) for name, value in work.model.state_dict().items())
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    pixels = torch.cat([inputs(work, work.retain), inputs(work, work.forget)])
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(logits(model, pixels), torch.cat([work.retain.labels, labels])).backward()
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-9, atol=1e-12)
    assert work.cost.passes == 16 + 3 * 3 * (48 + 8)


def test_either_half_is_drawn_by_the_seed() -> None:
    method, found = Toshi(half="either"), []
    work = double_work()
    for seed in range(200):
        work.seed = seed
        found.append(method.transposes(work))
    assert 70 < sum(found) < 125
    assert Toshi().transposes(work)
    assert not Toshi(half="guessed").transposes(work)
