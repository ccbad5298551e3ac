"""Toshi's transposed kernels and its repair."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from expunge.methods.toshi import Toshi, transpose
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
