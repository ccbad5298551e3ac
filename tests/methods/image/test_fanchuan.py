"""Fanchuan's contrast and its whole course against plain transcriptions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.methods.fanchuan import Fanchuan, contrast
from image_transcription import double_work, inputs, log_softmax, logits, numbers, twin


def test_the_contrast_in_numpy() -> None:
    generator = np.random.default_rng(0)
    lost, kept = generator.normal(size=(3, 4)), generator.normal(size=(5, 4))
    wanted = 0.0
    for i in range(3):
        alike = np.array([[lost[i] @ kept[j] / 1.15 for j in range(5)]])
        wanted -= log_softmax(alike)[0].sum() / 15
    assert contrast(torch.tensor(lost), torch.tensor(kept), 1.15).item() == pytest.approx(wanted, rel=1e-12)


def test_the_contrast_is_least_where_a_picture_is_as_like_one_as_another() -> None:
    kept = torch.eye(3, dtype=torch.float64)
    assert contrast(torch.ones(1, 3).double(), kept, 1.0).item() == pytest.approx(np.log(3), rel=1e-12)
    assert contrast(torch.tensor([[5.0, 0.0, 0.0]]).double(), kept, 1.0).item() > np.log(3)


def test_finite_differences() -> None:
    generator = torch.Generator().manual_seed(0)
    lost = torch.randn(3, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    kept = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda values: contrast(values, kept, 1.15), lost)


def test_the_whole_course() -> None:
    """With a batch a set, three rounds: one optimizer for all contrasts, one for all repairs, one cosine over all rounds."""
    work = double_work()
    model = twin(work)
    Fanchuan(rounds=3).apply(work)

    model.train()
    lost, kept = inputs(work, work.forget), inputs(work, work.retain)
    once = torch.optim.SGD(model.parameters(), lr=5e-3, momentum=0.9)
    output = logits(model, lost).log_softmax(-1)
    (0.25 * (np.log(0.25) - output)).sum(-1).mean().backward()
    once.step()
    contrasts = torch.optim.SGD(model.parameters(), lr=3e-4, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(contrasts, T_max=3, eta_min=1e-6)
    repairs = torch.optim.SGD(model.parameters(), lr=4e-3, momentum=0.9, weight_decay=1e-2)
    for _ in range(3):
        contrasts.zero_grad()
        forgotten = logits(model, lost)
        others = logits(model, kept).detach()
        (-(forgotten @ others.T / 1.15).log_softmax(-1)).mean().backward()
        contrasts.step()
        scheduler.step()
        repairs.zero_grad()
        F.cross_entropy(logits(model, kept), work.retain.labels).backward()
        repairs.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-9, atol=1e-12)
    assert work.cost.passes == 3 * 8 + 3 * (3 * 8 + 48 + 3 * 48)
