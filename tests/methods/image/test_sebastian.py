"""Sebastian's pruning, the entropy it keeps, and rounding."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from expunge.methods.sebastian import Sebastian, entropy, renew, round_to_half
from image_transcription import double_work, frozen_state, inputs, log_softmax, logits, numbers, twin


def prunable(model: nn.Module) -> list[nn.Parameter]:
    return [p for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) for p in m.parameters()]


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99, 1.0])
def test_the_share_is_of_all_layers_together(share: float) -> None:
    work = double_work()
    old = [p.detach().clone() for p in prunable(work.model)]
    norms = {n: v for n, v in frozen_state(work.model).items() if "normalization" in n}
    renew(work.model, share, torch.Generator().manual_seed(1))
    sizes = np.abs(np.concatenate([p.numpy().ravel() for p in old]))
    count = round(share * len(sizes))
    limit = np.sort(sizes)[count - 1] if count else -1.0
    renewed = 0
    for before, after in zip(old, prunable(work.model), strict=True):
        chosen = before.abs() <= limit
        renewed += int(chosen.sum())
        assert torch.equal(after[~chosen], before[~chosen])
        bound = 1 / math.sqrt(before[0].numel()) if before.ndim > 1 else 0.0
        assert after[chosen].abs().max().item() <= bound if chosen.any() else True
        if before.ndim > 1 and chosen.sum() > 100:
            assert after[chosen].std().item() == pytest.approx(bound / math.sqrt(3), rel=0.2)
    assert renewed == count
    assert all(torch.equal(value, norms[n]) for n, value in work.model.state_dict().items() if n in norms)


def test_entropy_in_numpy_and_its_gradient() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4))
    log_p = log_softmax(values)
    np.testing.assert_allclose(entropy(torch.tensor(values)).numpy(), -(np.exp(log_p) * log_p).sum(-1), rtol=1e-12)
    assert torch.autograd.gradcheck(entropy, torch.tensor(values, requires_grad=True))


def test_the_whole_course() -> None:
    work = double_work(retain=45)
    model = twin(work)
    with torch.no_grad():
        before = log_softmax(logits(model, inputs(work, work.retain)).numpy())
    target = torch.tensor(-(np.exp(before) * before).sum(-1))
    Sebastian(epochs=3, half=False).apply(work)
    renew(model, 0.99, work.generator("renew"))
    weights = torch.tensor([12, 11, 11, 11]).double() ** -0.1
    optimizer = torch.optim.SGD(model.parameters(), lr=5e-4, momentum=0.9, weight_decay=5e-4)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        output = logits(model, inputs(work, work.retain))
        found = -(output.softmax(-1) * output.log_softmax(-1)).sum(-1)
        (F.cross_entropy(output, work.retain.labels, weight=weights) + F.mse_loss(found, target)).backward()
        optimizer.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-6, atol=1e-8)


def test_parts_of_an_epoch() -> None:
    work = double_work()
    Sebastian(epochs=3.25, batch_size=12).apply(work)
    assert len(work.losses["repair"]) == 13


def test_rounding_keeps_what_16_bits_hold() -> None:
    work = double_work()
    running = work.model.state_dict()["resnet.embedder.embedder.normalization.running_var"]
    running[0] = 1e9
    round_to_half(work.model)
    assert running[0] == 65504
    assert all(
        torch.equal(value, value.half().double())
        for value in work.model.state_dict().values()
        if value.is_floating_point()
    )
