"""The Amnesiacs' distillation, what is reinitialised, and the whole course."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from expunge.methods.amnesiacs import Amnesiacs, distillation
from expunge.ops.layers import first_layer, head, reset
from image_transcription import double_work, inputs, log_softmax, logits, numbers, twin


def test_distillation_in_numpy() -> None:
    generator = np.random.default_rng(0)
    teacher, student = generator.normal(size=(5, 4)), generator.normal(size=(5, 4))
    p, q = log_softmax(teacher / 5), log_softmax(student / 5)
    soft, apart = distillation(torch.tensor(teacher), torch.tensor(student), 5.0)
    assert soft.item() == pytest.approx(-(np.exp(p) * q).sum(-1).mean(), rel=1e-12)
    assert apart.item() == pytest.approx((np.exp(p) * (p - q)).sum(-1).mean(), rel=1e-12)


def test_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    teacher = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    student = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda values: sum(distillation(teacher, values, 5.0)), student)


@pytest.mark.parametrize(("residual", "std"), [(False, 1 / 9), (True, (2 / (64 * 9)) ** 0.5)])
def test_the_law_of_a_convolutions_new_weights(residual: bool, std: float) -> None:
    """PyTorch's own: uniform up to 1 / sqrt(27) for 3x3 on three colours, so 1 / 9; by fan-out: variance 2 / (64 * 9)."""
    layer = nn.Conv2d(3, 64, 3)
    reset([layer], torch.Generator().manual_seed(0), residual=residual)
    assert float(layer.weight.detach().std()) == pytest.approx(std, rel=0.05)
    assert (float(layer.weight.detach().abs().max()) <= 27**-0.5) == (not residual)


@pytest.mark.parametrize("fresh", ["pytorch", "fan_out"])
def test_the_whole_course(fresh: Literal["pytorch", "fan_out"]) -> None:
    work = double_work()
    assert work.validation is not None
    model = twin(work)
    held, kept = inputs(work, work.validation), inputs(work, work.retain)
    with torch.no_grad():
        teacher_held, teacher_kept = logits(model, held), logits(model, kept)
    (Amnesiacs() if fresh == "pytorch" else Amnesiacs(fresh=fresh)).apply(work)

    reset([first_layer(model), head(model)], work.generator("reset"), residual=fresh == "fan_out")
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=9e-4, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        optimizer.zero_grad()
        target = (teacher_held / 5).softmax(-1)
        F.kl_div((logits(model, held) / 5).log_softmax(-1), target, reduction="batchmean").backward()
        optimizer.step()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3)
    for _ in range(3):
        optimizer.zero_grad()
        output, target = logits(model, kept), (teacher_kept / 5).softmax(-1)
        loss = -(target * (output / 5).log_softmax(-1)).sum(-1).mean() + F.cross_entropy(output, work.retain.labels)
        (loss + F.kl_div((output / 5).log_softmax(-1), target, reduction="batchmean")).backward()
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-5, atol=1e-7)
    # the original's outputs on both sets, three epochs on 16 held-back pictures, three on 48
    assert work.cost.passes == 16 + 48 + 3 * 3 * (16 + 48)
