"""Selective synaptic dampening: importance, choice, dampening, and alpha by the size of the forget set."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.kinds.classifier.session import Work
from expunge.methods.ssd import SSD, adaptive_alpha, damping
from image_transcription import double_work, gradient, inputs, logits, numbers, twin


def importances(work: Work, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Of all pictures and of the forget set, each one batch."""
    model = twin(work).eval()
    both = work.retain.joined(work.forget)
    found = []
    for pictures in (both, work.forget):
        output = logits(model, inputs(work, pictures))
        if by == "loss":
            found.append(gradient(model, F.cross_entropy(output, pictures.labels)) ** 2)
        else:
            found.append(np.abs(gradient(model, (output**2).sum(1).mean())))
    return found[0], found[1]


@pytest.mark.parametrize("importance", ["loss", "outputs"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_the_update_in_numpy(importance: str, adaptive: bool) -> None:
    work = double_work()
    usual, special = importances(work, importance)
    theta = numbers(work.model)
    alpha = 1.5
    if adaptive:
        ratio = special[usual > 0] / usual[usual > 0]
        alpha = np.percentile(ratio, 100 - np.log(1 + 100 * 8 / 56))
    wanted = theta.copy()
    changed = 0
    for i in range(len(theta)):
        if special[i] > alpha * usual[i]:
            wanted[i] *= min(0.8 * usual[i] / special[i], 1)
            changed += 1
    SSD(importance=importance, adaptive=adaptive, alpha=1.5, dampening=0.8, batch_size=64).apply(work)
    assert 0 < changed < len(theta)
    np.testing.assert_allclose(numbers(work.model), wanted, rtol=1e-8, atol=1e-14)
    assert work.cost.passes == 3 * (56 + 8)


def test_importance_is_a_mean_over_batches() -> None:
    work = double_work()
    found = SSD(batch_size=1).importances(work, work.forget, "x")
    model = twin(work).eval()
    output = logits(model, inputs(work, work.forget))
    wanted = np.mean(
        [gradient(model, F.cross_entropy(output[i : i + 1], work.forget.labels[i : i + 1])) ** 2 for i in range(8)], 0
    )
    np.testing.assert_allclose(torch.cat([each.flatten() for each in found]).numpy(), wanted, rtol=1e-8, atol=1e-16)


def test_dampening_by_hand() -> None:
    usual, special = torch.tensor([1.0, 1.0, 0.0, 0.0, 3.0]), torch.tensor([20.0, 5.0, 1.0, 0.0, 31.0])
    assert damping(usual, special, 10, 1).tolist() == pytest.approx([0.05, 1, 0, 1, 3 / 31])
    assert damping(usual, special, 10, 15).tolist() == pytest.approx([0.75, 1, 0, 1, 1])


def test_without_a_weight_to_choose_nothing_changes() -> None:
    work = double_work()
    before = numbers(work.model)
    SSD(alpha=1e12).apply(work)
    np.testing.assert_array_equal(numbers(work.model), before)


def test_adaptive_alpha_by_hand() -> None:
    whole, lost = [torch.ones(50), torch.zeros(2)], [torch.arange(50.0), torch.tensor([0.0, 1.0])]
    # weights without importance have no ratio; 49 intervals
    assert adaptive_alpha(whole, lost, 0.02) == pytest.approx(49 * (1 - np.log(3) / 100), rel=1e-6)
