"""The mixture of old and new weights, the repair, and the size of the logits."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from expunge.errors import RecipeError
from expunge.methods.shrink_perturb import ShrinkPerturb, spread
from expunge.ops.layers import reset
from expunge.train.phase import Phase
from image_transcription import double_work, frozen_state, inputs, logits, numbers, twin

FITTING = Phase(name="fit", epochs=4, learning_rate=0.01, optimizer="adam", weight_decay=0.01, batch_size=64)


def test_weights_are_mixed_with_new_ones_and_running_statistics_are_reset() -> None:
    work = double_work()
    old, new = frozen_state(work.model), twin(work)
    reset([new], work.generator("fresh"))
    ShrinkPerturb(shrink=0.7, fresh=0.25).mix(work)
    fresh, found = new.state_dict(), work.model.state_dict()
    assert {value.ndim for value in old.values()} >= {1, 2, 4}
    for name, value in found.items():
        running = "running" in name or "tracked" in name
        share, added = (0, 1) if running else (0.7, 0.25 if value.ndim > 1 else 0.3)
        expected = share * old[name].double().numpy() + added * fresh[name].double().numpy()
        np.testing.assert_allclose(value.double().numpy(), expected, rtol=1e-12, atol=1e-15)


def test_limits() -> None:
    kept, gone = double_work(), double_work()
    before = numbers(kept.model)
    ShrinkPerturb(shrink=1, fresh=0).mix(kept)
    np.testing.assert_array_equal(numbers(kept.model), before)
    ShrinkPerturb(shrink=0, fresh=1).mix(gone)
    new = twin(gone)
    reset([new], gone.generator("fresh"))
    np.testing.assert_array_equal(numbers(gone.model), numbers(new))


@pytest.mark.parametrize("weighted", [False, True])
def test_the_repair_and_the_size_of_the_logits(weighted: bool) -> None:
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    work, other = double_work(), double_work()
    for each in (work, other):
        each.training, each.class_weights = FITTING, weights
    method = ShrinkPerturb(epochs=1, class_weights=weighted, sharpness=1.5)
    original = other.original.model
    method.mix(other)
    model = other.model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=0.01)
    found = logits(model, inputs(other, other.retain))
    F.cross_entropy(found, other.retain.labels, weight=weights if weighted else None).backward()
    optimizer.step()
    model.eval()
    assert other.validation is not None
    pixels = inputs(other, other.validation)
    with torch.no_grad():
        z0, z = (logits(net, pixels).numpy() for net in (original, model))
    sizes = [((each - each.mean(1, keepdims=True)) ** 2).sum() for each in (z0, z)]
    expected = 1.5 * np.sqrt(sizes[0] / sizes[1]) * z

    method.apply(work)
    with torch.no_grad():
        np.testing.assert_allclose(logits(work.model, pixels).numpy(), expected, rtol=1e-6, atol=1e-8)
    assert float(spread(work.task.outputs(other.validation))) == pytest.approx(
        1.5 * float(spread(work.original.outputs(other.validation))), rel=1e-6
    )
    assert work.cost.passes == 3 * 48 + 2 * 16


def test_the_rate_rises_and_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    work, phases = double_work(), []
    work.training = FITTING
    monkeypatch.setattr(type(work), "train", lambda self, phase, *rest, **more: phases.append(phase))
    ShrinkPerturb(warmup=0.25, epochs=2, learning_rate=0.5).apply(work)
    (phase,) = phases
    assert (phase.epochs, phase.learning_rate, phase.optimizer, phase.weight_decay) == (2, 0.5, "adam", 0.01)
    assert [phase.rate(step, 8) for step in range(8)][:3] == pytest.approx([0.25, 0.5, FITTING.rate(0, 6) * 50])


def test_matching_changes_no_answer() -> None:
    work, plain = double_work(), double_work()
    for each in (work, plain):
        each.training = FITTING
    ShrinkPerturb(epochs=1).apply(work)
    ShrinkPerturb(epochs=1, sharpness=0).apply(plain)
    ratio = work.task.outputs(work.retain) / plain.task.outputs(plain.retain)
    assert float(ratio.std()) < 1e-5
    assert float(ratio.mean()) > 0
    assert float(ratio.mean()) != pytest.approx(1)


def test_other_seeds_give_other_weights() -> None:
    found = []
    for seed in (0, 0, 1):
        work = double_work(seed=seed)
        ShrinkPerturb().mix(work)
        found.append(copy.deepcopy(numbers(work.model)))
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_how_the_original_was_trained_must_be_known_or_given() -> None:
    with pytest.raises(RecipeError, match="is unknown"):
        ShrinkPerturb().apply(double_work())
