"""Losses of the methods for generators against the papers' formulas, written out on transformers' own forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from expunge.kinds.generator import session as engine
from expunge.kinds.generator.session import GeneratorWork
from expunge.ops.feature_losses import EASE, euclidean
from generator_transcription import (
    Handed,
    batch_noise,
    double_work,
    inputs,
    moved,
    own_features,
    own_loss,
    own_outputs,
    slope,
)

ROWS = torch.arange(4, 12)


def batches(work: GeneratorWork, call: dict[str, Any]) -> tuple[Any, Any]:
    return (
        work.task.batch(call["pictures"], ROWS, **call["known"]),
        work.task.batch(call["paired"], ROWS, **call["known_paired"]),
    )


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    return Handed(monkeypatch)


@pytest.mark.parametrize("kind", ["normal", "uniform", "matched_uniform", "binary", "constant"])
def test_encoder_scrubbing(kind: str, handed: Handed) -> None:
    work = double_work()
    original = work.original.model
    (call,) = handed.by("encoder_scrubbing", work, alpha=0.3, noise=kind)
    moved(work.task)
    kept, lost = batches(work, call)
    keys = {name: call[name]["keys"][ROWS] for name in ("known", "known_paired")}
    here = own_features(work.model, inputs(work.retain, ROWS), keys["known"])
    there = own_features(original, inputs(work.retain, ROWS), keys["known"])
    forgotten = own_features(work.model, inputs(work.forget, ROWS), keys["known_paired"])
    noise = batch_noise(work, kind, "target")[ROWS]
    target = own_features(original, 2 * noise - 1, keys["known_paired"])
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
        (lost, work.forget, "known_paired", 0.3),
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


def test_further_views_to_forget_are_not_precomputed(handed: Handed) -> None:
    """Each picture under three corruptions; what noise becomes under each of those is computed once, and goes with it."""
    work, plain = double_work(), double_work()
    (once,) = handed.by("encoder_scrubbing", plain)
    (_, call) = handed.by("encoder_scrubbing", work, forget_views=3)
    count = len(work.forget)
    assert work.cost.passes == plain.cost.passes
    keys, target = call["known_paired"]["keys"], call["known_paired"]["target"]
    assert torch.equal(call["paired"].pixels, work.forget.pixels.repeat(3, 1, 1, 1))
    assert torch.equal(keys[:count], once["known_paired"]["keys"])
    assert torch.equal(target[:count], once["known_paired"]["target"])
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


def parts_trained(work: GeneratorWork, call: dict[str, Any]) -> set[str]:
    """First names of the weights that are handed to the optimizer: vit, decoder."""
    ids = {id(parameter) for parameter in call["parameters"]}
    return {name.split(".")[0] for name, parameter in work.model.named_parameters() if id(parameter) in ids}


def keys_of(call: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    return call["known"]["keys"][ROWS], call["known_paired"]["keys"][ROWS]


def check_slope(work: GeneratorWork, call: dict[str, Any], kept: Any, lost: Any) -> None:
    def loss() -> torch.Tensor:
        torch.manual_seed(4)
        return call["loss"](kept, lost)

    exact, differences = slope(work.task, loss, call["parameters"])
    assert exact == pytest.approx(differences, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(("weights", "parts", "share"), [("all", {"vit", "decoder"}, 1.0), ("encoder", {"vit"}, None)])
@pytest.mark.parametrize("name", ["max_loss", "noisy_label", "retain_label"])
def test_the_whole_model_trains_or_the_encoder_alone(
    name: str, weights: str, parts: set[str], share: float | None, handed: Handed
) -> None:
    work = double_work()
    (call,) = handed.by(name, work, **({} if weights == "all" else {"weights": weights}))
    assert parts_trained(work, call) == parts
    assert call["passes"].share == (work.frozen_decoder_share if share is None else share)


def test_max_loss(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("max_loss", work, alpha=0.2)
    moved(work.task)
    kept, lost = batches(work, call)
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) - 0.2 * own_loss(
        work.model, inputs(work.forget, ROWS), call["known_paired"]["keys"][ROWS]
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)
    check_slope(work, call, kept, lost)


def test_noisy_label_draws_noise_at_every_step_on_the_forget_set_alone(handed: Handed) -> None:
    """With the mean and deviation of both sets' pixels in the batch, cut off at 0 and 1."""
    work = double_work()
    (call,) = handed.by("noisy_label", work, alpha=0.3)
    moved(work.task)
    kept, lost = batches(work, call)
    unit = torch.cat([work.retain.pixels[ROWS], work.forget.pixels[ROWS]]).float() / 255
    keys = keys_of(call)
    found = []
    for seed in (7, 8):
        torch.manual_seed(seed)
        found.append(float(call["loss"](kept, lost).detach()))
        torch.manual_seed(seed)
        noise = (unit.mean() + unit.std() * torch.randn(unit.shape)).clamp(0, 1)[len(ROWS) :].double()
        wanted = own_loss(work.model, inputs(work.retain, ROWS), keys[0])
        wanted += 0.3 * own_loss(work.model, inputs(work.forget, ROWS), keys[1], 2 * noise - 1)
        assert found[-1] == pytest.approx(wanted, rel=1e-6)
    assert found[0] != found[1]
    check_slope(work, call, kept, lost)


def test_noisy_label_with_noise_drawn_once(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("noisy_label", work, alpha=0.2, fresh_noise=False)
    moved(work.task)
    kept, lost = batches(work, call)
    noise = (batch_noise(work, "normal", "label")[ROWS] * 255).round() / 255
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) + 0.2 * own_loss(
        work.model, inputs(work.forget, ROWS), call["known_paired"]["keys"][ROWS], 2 * noise - 1
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("fewer", [0, 3])
def test_retain_label_wants_the_originals_outputs_of_the_retain_set(fewer: int, handed: Handed) -> None:
    """Over all patches, shown ones too; where a batch has fewer pictures to keep, these are gone round again."""
    work = double_work()
    original = work.original.model
    (call,) = handed.by("retain_label", work, alpha=0.2)
    moved(work.task)
    rows = ROWS[: len(ROWS) - fewer]
    kept = work.task.batch(call["pictures"], rows, **call["known"])
    lost = work.task.batch(call["paired"], ROWS, **call["known_paired"])
    keys = keys_of(call)
    told = own_outputs(original, inputs(work.retain, rows), call["known"]["keys"][rows])
    ours = own_outputs(work.model, inputs(work.retain, rows), call["known"]["keys"][rows])
    theirs = own_outputs(work.model, inputs(work.forget, ROWS), keys[1])
    others = np.stack([told[number % len(rows)] for number in range(len(ROWS))])
    wanted = np.mean((ours - told) ** 2) + 0.2 * np.mean((theirs - others) ** 2)
    before = work.cost.passes
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)
    assert work.cost.passes - before == len(rows)
    check_slope(work, call, kept, lost)


def test_retain_label_at_its_start_and_without_a_forget_term(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("retain_label", work, alpha=0.0)
    loss = call["loss"](*batches(work, call))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-20)
    gradients = torch.autograd.grad(loss, call["parameters"])
    assert max(float(gradient.abs().max()) for gradient in gradients) == pytest.approx(0.0, abs=1e-10)


def test_retain_label_may_want_pictures_of_the_retain_set(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("retain_label", work, alpha=0.2, labels="pictures")
    moved(work.task)
    kept, lost = batches(work, call)
    labels = call["known_paired"]["wanted"]
    known = {picture.numpy().tobytes() for picture in work.retain.pixels}
    assert all(picture.numpy().tobytes() in known for picture in labels)
    wanted = own_loss(work.model, inputs(work.retain, ROWS), call["known"]["keys"][ROWS]) + 0.2 * own_loss(
        work.model,
        inputs(work.forget, ROWS),
        call["known_paired"]["keys"][ROWS],
        (labels[ROWS].double() - 127.5) / 127.5,
    )
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("keeps", ["features", "pixels"])
@pytest.mark.parametrize("live", [False, True])
def test_random_encoder(keeps: str, live: bool, handed: Handed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise as the original's features of the batch are spread, of both sets; drawn at every step."""
    if live:
        monkeypatch.setattr(engine, "MOST_BYTES", 0)
    work = double_work()
    original = work.original.model
    (call,) = handed.by("random_encoder", work, alpha=0.2, keeps=keeps)
    assert ("target" in call["known_paired"]) != live
    assert parts_trained(work, call) == {"vit"}
    moved(work.task)
    kept, lost = batches(work, call)
    keys = keys_of(call)
    pixels = inputs(work.retain, ROWS), inputs(work.forget, ROWS)
    there, gone = (own_features(original, part, key) for part, key in zip(pixels, keys, strict=True))
    ours, theirs = (own_features(work.model, part, key) for part, key in zip(pixels, keys, strict=True))
    both = np.concatenate([there, gone])
    torch.manual_seed(3)
    noise = both.mean() + both.std(ddof=1) * torch.randn(both.shape, dtype=torch.float64).numpy()
    first = np.mean((ours - there) ** 2) if keeps == "features" else own_loss(work.model, pixels[0], keys[0])
    wanted = first + 0.2 * np.mean((theirs - noise[len(there) :]) ** 2)
    torch.manual_seed(3)
    assert float(call["loss"](kept, lost).detach()) == pytest.approx(wanted, rel=1e-6)
    check_slope(work, call, kept, lost)


def test_random_encoder_asks_nothing_at_its_start_without_a_forget_term(handed: Handed) -> None:
    work = double_work()
    (call,) = handed.by("random_encoder", work, alpha=0.0)
    loss = call["loss"](*batches(work, call))
    assert float(loss.detach()) == pytest.approx(0.0, abs=1e-20)
    gradients = torch.autograd.grad(loss, work.encoder())
    assert max(float(gradient.abs().max()) for gradient in gradients) == pytest.approx(0.0, abs=1e-10)


def test_random_encoder_with_noise_drawn_once(handed: Handed) -> None:
    work = double_work()
    original = work.original.model
    (call,) = handed.by("random_encoder", work, alpha=0.2, keeps="pixels", fresh_noise=False)
    assert "target" not in call["known"]  # nothing is computed that is not needed
    target = call["known_paired"]["target"]
    every = own_features(original, inputs(work.forget, torch.arange(len(work.forget))), call["known_paired"]["keys"])
    assert float(target.mean()) == pytest.approx(every.mean(), abs=4 * every.std() / np.sqrt(every.size))
    assert float(target.std()) == pytest.approx(every.std(), rel=0.05)
    moved(work.task)
    kept, lost = batches(work, call)
    forgotten = own_features(work.model, inputs(work.forget, ROWS), call["known_paired"]["keys"][ROWS])
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
    assert torch.equal(call["known_paired"]["target"], plain["known_paired"]["target"])

    def gradient(value: Any) -> np.ndarray:
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, work.encoder())]).numpy()

    goes = ((work.task.batch_features(lost) - lost.target) ** 2).mean()
    stays = ((work.task.batch_features(kept) - kept.target) ** 2).mean()
    level = float(goes.detach())
    before = work.original.set_features(work.forget, call["known_paired"]["keys"])
    first = float(((before - call["known_paired"]["target"]) ** 2).mean())
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
