"""Seif's noise and weighted repair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.kinds.classifier.task import Pictures
from expunge.methods.seif import Seif
from image_transcription import double_work, frozen_state, inputs, logits, numbers, twin

FIRST = "resnet.embedder.embedder.convolution.weight"


def test_only_the_first_layer_is_disturbed_and_by_that_deviation() -> None:
    work = double_work()
    before = frozen_state(work.model)
    Seif().disturb(work, 0.6, "noise")
    noise = work.model.state_dict()[FIRST] - before[FIRST]
    drawn = torch.randn(noise.shape, generator=work.generator("noise"), dtype=torch.float64)
    np.testing.assert_allclose(noise.numpy(), 0.6 * drawn.numpy(), rtol=1e-12, atol=1e-14)
    assert noise.std().item() == pytest.approx(0.6, rel=0.1)
    for name, value in work.model.state_dict().items():
        assert torch.equal(value, before[name]) == (name != FIRST)


def test_the_most_frequent_class_weighs_1() -> None:
    work = double_work()
    rows = torch.cat([torch.arange(48), torch.tensor([2, 6])])
    work.retain = Pictures(pixels=work.retain.pixels[rows], labels=work.retain.labels[rows])
    assert Seif().class_weights(work).tolist() == [0.05, 0.05, 1.0, 0.05]


@pytest.mark.parametrize("epochs", [1, 3])
def test_the_whole_course(epochs: int) -> None:
    work = double_work()
    model = twin(work)
    Seif(epochs=epochs).apply(work)
    weight = dict(model.named_parameters())[FIRST]

    def disturb(deviation: float, name: str) -> None:
        with torch.no_grad():
            weight.add_(deviation * torch.randn(weight.shape, generator=work.generator(name), dtype=torch.float64))

    disturb(0.6, "noise")
    optimizer = torch.optim.SGD(model.parameters(), lr=7e-4, momentum=0.9, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    model.train()
    for epoch in range(epochs):
        optimizer.zero_grad()
        weights = torch.tensor([1.0 if label == 0 else 0.05 for label in work.retain.labels.tolist()]).double()
        mean = F.cross_entropy(logits(model, inputs(work, work.retain)), work.retain.labels)
        (mean * weights).mean().backward()
        optimizer.step()
        if epoch == epochs - 2:
            disturb(0.005, "last noise")
        scheduler.step()
    np.testing.assert_allclose(numbers(work.model), numbers(model), rtol=1e-7, atol=1e-9)
