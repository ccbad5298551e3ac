"""Sun's picks: what is trained, what gets noise, what stays bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from expunge.methods.sun import Sun, parts
from expunge.ops.layers import head, reset
from image_transcription import double_work, inputs, logits, numbers, twin
from small_images import tiny_resnet, tiny_vit


def test_normalisation_and_the_rest() -> None:
    for model, count in ((tiny_resnet().model, 6), (tiny_vit().model, 5)):
        always, others = parts(model)
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)]
        assert len(norms) == count
        assert {id(p) for p in always} == {id(p) for m in norms for p in m.parameters()}
        assert len(always) + len(others) == len(list(model.parameters()))


def test_only_the_picked_and_normalisation_move_in_an_epoch() -> None:
    work = double_work()
    _, others = parts(work.model)
    before = [p.detach().clone() for p in others]
    Sun(reset_epochs=0, noise_epochs=1, epochs=0, picked=3).apply(work)
    picked = torch.randperm(len(others), generator=work.generator("pick", 0))[:3].tolist()
    owned = {id(p) for p in head(work.model).parameters()}
    for at, (old, new) in enumerate(zip(before, others, strict=True)):
        if id(new) not in owned:  # the head was reinitialised
            assert torch.equal(old, new) == (at not in picked), at


def test_noise_goes_once_to_a_tensor() -> None:
    method = Sun(reset_epochs=0, noise_epochs=2, epochs=0, learning_rate=1e-300, picked=100, noise_share=1.0)
    work = double_work()
    _, others = parts(work.model)
    before = [p.detach().clone() for p in others]
    method.apply(work)
    owned = {id(p) for p in head(work.model).parameters()}
    noise = [(new - old).detach() for old, new in zip(before, others, strict=True) if id(new) not in owned]
    # twice the noise would have sqrt(2) times the deviation
    assert torch.cat([each.flatten() for each in noise]).std().item() == pytest.approx(0.04, rel=0.1)


def test_the_whole_course() -> None:
    work = double_work()
    model = twin(work)
    method = Sun(noise_epochs=2, epochs=2, repair_learning_rates=(2e-4, 1e-3), picked=4)
    method.apply(work)

    always, others = parts(model)
    reset([head(model)], work.generator("reset"))
    seen: list[int] = []
    for epoch in range(3):
        generator = work.generator("pick", epoch)
        picked = torch.randperm(len(others), generator=generator)[:4].tolist()
        if epoch > 0:
            for at in picked[:2]:  # 0.7 x 4, rounded down
                if at not in seen:
                    drawn = torch.randn(others[at].shape, generator=generator, dtype=torch.float64)
                    others[at].data += 0.04 * drawn
        seen += picked
        descend(work, model, [*(others[at] for at in picked), *always], 2e-4)
    for rate in (2e-4, 1e-3):
        descend(work, model, list(model.parameters()), rate)
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-9, atol=1e-12)


def descend(work: object, model: nn.Module, parameters: list[nn.Parameter], rate: float) -> None:
    model.train()
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=0.9, weight_decay=5e-4)
    optimizer.zero_grad()
    F.cross_entropy(logits(model, inputs(work, work.retain)), work.retain.labels).backward()  # type: ignore[attr-defined,arg-type]
    optimizer.step()
