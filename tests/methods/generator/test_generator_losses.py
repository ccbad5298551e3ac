"""Losses of the methods for generators against the papers' formulas, written out on transformers' own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from expunge.engine.generator_work import GeneratorWork
from expunge.tasks.losses import EASE, euclidean
from generator_transcription import Handed, batch_noise, double_work, inputs, moved, own_features, own_loss, slope

ROWS = torch.arange(4, 12)


def batches(work: GeneratorWork, call: dict[str, Any]) -> tuple[Any, Any]:
    return (
        work.task.batch(call["pictures"], ROWS, **call["known"]),
        work.task.batch(call["beside"], ROWS, **call["known_beside"]),
    )


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    return Handed(monkeypatch)


@pytest.mark.parametrize("kind", ["normal", "uniform", "binary", "constant"])
def test_encoder_scrubbing(kind: str, handed: Handed) -> None:
    work = double_work()
    original = work.original.model
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.3, noise=kind)
    moved(work.task)
    kept, lost = batches(work, call)
    keys = {name: call[name]["keys"][ROWS] for name in ("known", "known_beside")}
    here = own_features(work.model, inputs(work.retain, ROWS), keys["known"])
    there = own_features(original, inputs(work.retain, ROWS), keys["known"])
    forgotten = own_features(work.model, inputs(work.forget, ROWS), keys["known_beside"])
    noise = batch_noise(work, kind, "target")[ROWS]
    target = own_features(original, 2 * noise - 1, keys["known_beside"])
    wanted = np.mean((here - there) ** 2) + 0.3 * np.mean((forgotten - target) ** 2)
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)
    exact, differences = slope(work.task, lambda: call["loss"](kept, lost), work.encoder())
    assert exact == pytest.approx(differences, rel=1e-5, abs=1e-6)


def test_encoder_scrubbing_by_length(handed: Handed) -> None:
    """Of each token's difference the root mean square, not the mean square."""
    work = double_work()
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.3, distance="euclidean")
    moved(work.task)
    kept, lost = batches(work, call)
    total = 0.0
    for batch, pictures, name, weight in (
        (kept, work.retain, "known", 1.0),
        (lost, work.forget, "known_beside", 0.3),
    ):
        ours = own_features(work.model, inputs(pictures, ROWS), call[name]["keys"][ROWS])
        assert batch.target is not None
        lengths = np.sqrt(((ours - batch.target.numpy()) ** 2).sum(2) / ours.shape[2] + 1e-3) - np.sqrt(1e-3)
        total += weight * lengths.sum() / lengths.size
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(total, rel=1e-9)
    exact, differences = slope(work.task, lambda: call["loss"](kept, lost), work.encoder())
    assert exact == pytest.approx(differences, rel=1e-5, abs=1e-6)


def test_encoder_scrubbing_by_length_begins_without_a_slope(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.0, distance="euclidean")
    loss = call["loss"](*batches(work, call))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-12)
    gradients = torch.autograd.grad(loss, work.encoder())
    assert max(float(gradient.abs().max()) for gradient in gradients) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(("shape", "vectors"), [((2, 3, 5), 6), ((2, 5, 3, 3), 18), ((2, 7), 2)])
def test_vectors_of_a_euclidean_distance(shape: tuple[int, ...], vectors: int) -> None:
    """Tokens, places of a map, whole pictures: where one vector alone differs by 2 in all its numbers."""
    target = torch.zeros(shape, dtype=torch.float64)
    features = target.clone()
    if len(shape) == 4:
        features[0, :, 1, 2] = 2.0
    else:
        features.view(-1, shape[-1])[1] = 2.0
    wanted = (np.sqrt(4 + EASE) - np.sqrt(EASE)) / vectors
    assert float(euclidean(features, target)) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(("pictures", "steps"), [(10240, 704), (10241, 705), (1, 1)])
def test_a_rounding_error_makes_no_step(pictures: int, steps: int) -> None:
    assert double_work().phase("unlearning", pictures, 1.1, 16, learning_rate=1e-3).steps == steps


def test_further_views_to_forget_cost_nothing_beforehand(handed: Handed) -> None:
    """Each picture under three corruptions; what noise becomes under each of those is computed once, and goes with it."""
    work, plain = double_work(), double_work()
    (once,) = handed.by("encoder_scrubbing", plain)
    (_, call) = handed.by("encoder_scrubbing", work, forget_views=3)
    count = len(work.forget)
    assert work.cost.passes == plain.cost.passes
    keys, target = call["known_beside"]["keys"], call["known_beside"]["target"]
    assert torch.equal(call["beside"].pixels, work.forget.pixels.repeat(3, 1, 1, 1))
    assert torch.equal(keys[:count], once["known_beside"]["keys"])
    assert torch.equal(target[:count], once["known_beside"]["target"])
    place = {int(key): row for row, key in enumerate(keys[:count])}
    dealt = torch.tensor([place[int(key)] for key in keys])
    assert torch.equal(target, target[:count][dealt])
    for view in (1, 2):
        own = dealt[view * count : (view + 1) * count]
        assert own.sort().values.tolist() == list(range(count))
        assert (own != torch.arange(count)).sum() > count // 2
    assert call["phase"].steps == once["phase"].steps
    assert torch.equal(call["known"]["keys"], once["known"]["keys"])


def test_encoder_scrubbing_at_its_start_and_limits(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.0)
    assert float(call["loss"](*batches(work, call)).detach()) == pytest.approx(0.0, abs=1e-20)
    assert call["parameters"] == work.encoder()
    assert {id(p) for p in work.encoder()} < {id(p) for p in work.model.parameters()}


def test_max_loss(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("max_loss", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) - 0.2 * own_loss(
        work.model, inputs(work.forget, ROWS), call["known_beside"]["keys"][ROWS]
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)
    exact, differences = slope(work.task, lambda: call["loss"](kept, lost), work.encoder())
    assert exact == pytest.approx(differences, rel=1e-5, abs=1e-6)


def test_noisy_label_acts_on_the_forget_set_alone(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("noisy_label", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    noise = (batch_noise(work, "normal", "label")[ROWS] * 255).round() / 255
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) + 0.2 * own_loss(
        work.model, inputs(work.forget, ROWS), call["known_beside"]["keys"][ROWS], 2 * noise - 1
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)


def test_retain_label_wants_pictures_of_the_retain_set(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("retain_label", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    labels = call["known_beside"]["wanted"]
    known = {picture.numpy().tobytes() for picture in work.retain.pixels}
    assert all(picture.numpy().tobytes() in known for picture in labels)
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) + 0.2 * own_loss(
        work.model,
        inputs(work.forget, ROWS),
        call["known_beside"]["keys"][ROWS],
        (labels[ROWS].double() - 127.5) / 127.5,
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)


def test_random_encoder_acts_on_the_forget_set_alone(handed: Handed) -> None:
    work = double_work()
    original = work.original.model
    (call,) = handed.by("random_encoder", work, alpha=0.2)
    target = call["known_beside"]["target"]
    every = own_features(original, inputs(work.forget, torch.arange(len(work.forget))), call["known_beside"]["keys"])
    assert float(target.mean()) == pytest.approx(every.mean(), abs=4 * every.std() / np.sqrt(every.size))
    assert float(target.std()) == pytest.approx(every.std(), rel=0.05)
    moved(work.task)
    kept, lost = batches(work, call)
    forgotten = own_features(work.model, inputs(work.forget, ROWS), call["known_beside"]["keys"][ROWS])
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) + 0.2 * np.mean(
        (forgotten - target[ROWS].numpy()) ** 2
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)


def test_constrained_scrubbing_follows_the_projected_gradient(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("constrained_scrubbing", work, epsilon=0.3, beta=1.5)
    (_, plain) = handed.by("encoder_scrubbing", work, alpha=1.0)
    moved(work.task)
    kept, lost = batches(work, call)
    assert torch.equal(call["known_beside"]["target"], plain["known_beside"]["target"])

    def gradient(value: Any) -> np.ndarray:
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, work.encoder())]).numpy()

    goes = ((work.task.batch_features(lost) - lost.target) ** 2).mean()
    stays = ((work.task.batch_features(kept) - kept.target) ** 2).mean()
    level = float(goes.detach())
    before = work.original.set_features(work.forget, call["known_beside"]["keys"])
    first = float(((before - call["known_beside"]["target"]) ** 2).mean())
    keep, lose = gradient(stays), gradient(goes)
    demanded = 1.5 * (lose @ lose) * (level - 0.3 * first) / first
    weight = max(0.0, (demanded - keep @ lose) / (lose @ lose))
    assert weight > 0
    found = gradient(call["loss"](kept, lost))
    np.testing.assert_allclose(found, keep + weight * lose, rtol=1e-9, atol=1e-15)
    assert found @ lose == pytest.approx(demanded, rel=1e-9)


def test_decoupling_rises_to_the_ceiling_then_repairs(handed: Handed) -> None:
    work = double_work()
    rise, repair = handed.by("decoupling", work, strangeness=1.0)
    keys = rise["known"]["keys"]
    batch = work.task.batch(rise["pictures"], ROWS, keys=keys)
    every = torch.arange(len(work.forget))
    mean = own_loss(work.original.model, inputs(work.forget, every), keys)
    here = own_loss(work.model, inputs(work.forget, ROWS), keys[ROWS])
    assert float(rise["loss"](batch).detach()) == pytest.approx(-min(here, mean), rel=1e-9)
    wanted = own_loss(work.model, inputs(work.retain, ROWS), repair["known"]["keys"][ROWS])
    kept = work.task.batch(repair["pictures"], ROWS, keys=repair["known"]["keys"])
    assert float(repair["loss"](kept).detach()) == pytest.approx(wanted, rel=1e-9)
    assert (rise["phase"].name, repair["phase"].name) == ("decouple", "retain")
