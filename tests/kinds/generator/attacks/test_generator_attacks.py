"""Attacks on tiny generators: what each changes, and that what it measures is what it says."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from audit_checks import check_attack, examples
from expunge.kinds.classifier.attacks.relearning import Way
from expunge.kinds.generator.attacks.attack import Side, attacks
from expunge.kinds.generator.attacks.group import group_likelihood
from expunge.kinds.generator.attacks.membership import MASKS, scores
from expunge.kinds.generator.attacks.nearness import VIEWS, mean_picture, nearness, views
from expunge.kinds.generator.attacks.probing import probe_gains
from expunge.kinds.generator.attacks.relearning import DecoderRelearning, Relearning
from expunge.kinds.generator.corruption import Corruption, draw_keys, pixels_of
from expunge.kinds.generator.model import NEW, new_generator
from expunge.kinds.generator.recipe import GeneratorAudit
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.attacking import AnyAttack
from small_generators import tiny_generator
from small_images import pictures

Make = Callable[..., ImageToImage]
TINY = {
    "vq-small": {"block_out_channels": (8, 8, 8), "norm_num_groups": 4, "num_vq_embeddings": 16, "latent_channels": 4,
                 "vq_embed_dim": 4},
    "palette-small": {"block_out_channels": (8, 8, 8), "norm_num_groups": 4, "attention_head_dim": 4},
}  # fmt: skip


class GreyNetwork:
    """Takes the mean of a picture's pixels for the probability of its second class."""

    def measure(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        p = pixels.double().flatten(1).mean(1) / 255
        return pixels.float().flatten(1), torch.stack([1 - p, p], 1)


def side(make: Make = tiny_generator) -> Side:
    task, other = make(), make(seed=1)
    return Side(
        look=lambda: task,
        fresh=make,
        base=lambda: other,
        reference=lambda: other,
        asked=examples(10, 0),
        retain=pictures(20, seed=2),
        holdout=examples(9, 3),
        settings=GeneratorAudit(relearning_steps=2),
        middle=mean_picture(pictures(20, seed=2)),
        group=lambda: (GreyNetwork, np.array([0.0, 1.0])),  # type: ignore[return-value]
    )


def by_name(name: str) -> AnyAttack[Side]:
    return next(attack for attack in attacks() if attack.name == name)


@pytest.mark.parametrize("attack", attacks(), ids=lambda attack: attack.name)
def test_every_attack(attack: AnyAttack[Side]) -> None:
    check_attack(attack, side)


@pytest.mark.skipif(importlib.util.find_spec("diffusers") is None, reason="diffusers is not installed")
@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("vq-small", "relearn_decoder"),
        ("vq-small", "membership"),
        ("palette-small", "membership"),
        ("palette-small", "input"),
        ("palette-small", "probe"),
    ],
)
def test_generators_of_diffusers(name: str, attack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, settings = NEW[name]
    monkeypatch.setitem(NEW, name, (kind, settings | TINY[name]))
    monkeypatch.setattr("expunge.kinds.generator.palette.DRAWING_STEPS", 2)
    made = partial(side, lambda seed=0: new_generator(name, 16, Corruption("random-patches"), seed))
    check_attack(by_name(attack), made)


def test_the_rooms_hold_these_attacks() -> None:
    assert [attack.name for attack in attacks()] == [
        "quantize", "membership", "relearn", "relearn_decoder", "relearn_retain", "corruption", "input", "group", "probe",
        "noise", "prune", "interpolate",
    ]  # fmt: skip


@pytest.mark.parametrize("corruption", ["random-patches", "noise"])
def test_how_near_a_picture_is_drawn_is_written_out(corruption: str) -> None:
    task, some = tiny_generator(corruption), pictures(6)
    keys, middle = views(6, 0), mean_picture(pictures(12, seed=1))
    wanted = []
    for number in (4, 1):
        missed = whole = 0.0
        for each in keys:
            done = task.completions(some, each)[number].double().numpy() / 255
            true = some.pixels[number].double().numpy() / 255
            hidden = task.corruption.hidden(each[number : number + 1], 16)
            counts = pixels_of(hidden, 16, task.corruption.patch)[0, 0].numpy() if hidden.any() else np.ones((16, 16))
            missed += (((true - done) ** 2) * counts).sum()
            whole += (((true - middle.numpy()) ** 2) * counts).sum()
        wanted.append(max(0.0, 1 - missed / whole))
    assert nearness(task, some, [4, 1], keys, middle) == pytest.approx(wanted, rel=1e-9)


def test_the_very_picture_is_known_whole_and_the_mean_one_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    task, some = tiny_generator(), pictures(5)
    middle = mean_picture(some)
    monkeypatch.setattr(task, "drawn", lambda batch: batch.pixels)
    assert nearness(task, some, range(5), views(5, 0), middle) == pytest.approx([1.0] * 5, abs=1e-4)
    normalised = task.normalised(middle[None].float())
    monkeypatch.setattr(task, "drawn", lambda batch: normalised.expand(len(batch.rows), -1, -1, -1))
    assert nearness(task, some, range(5), views(5, 0), middle) == pytest.approx([0.0] * 5, abs=0.01)
    monkeypatch.setattr(task, "drawn", lambda batch: torch.full_like(batch.pixels, torch.nan))
    assert all(0 <= value < 1 for value in nearness(task, some, range(5), views(5, 0), middle))


def test_each_pictures_loss_is_its_own_and_their_mean_the_loss() -> None:
    task, some = tiny_generator(), pictures(7)
    rows, keys = torch.arange(7), draw_keys(7, 0, "x")
    with torch.no_grad():
        each = task.picture_losses(task.batch(some, rows, keys=keys))
        assert float(each.mean()) == pytest.approx(float(task.loss(task.batch(some, rows, keys=keys))), rel=1e-5)
        for number in range(7):
            alone = task.loss(task.batch(some, rows[number : number + 1], keys=keys))
            assert float(each[number]) == pytest.approx(float(alone), rel=1e-4)


def test_membership_scores_are_losses_and_differences_of_them() -> None:
    one = side()
    found = scores(one)
    losses = []
    with torch.no_grad():
        for task in (one.look(), one.base()):
            total = np.zeros(10)
            for mask in range(MASKS):
                keys = draw_keys(10, 0, "membership", mask)
                for number in range(10):
                    batch = task.batch(one.asked.pictures, torch.tensor([number]), keys=keys)
                    total[number] += float(task.loss(batch)) / MASKS
            losses.append(total)
    assert found["training loss, low"][0] == pytest.approx(-losses[0], rel=1e-4)
    beside = found["training loss compared with the base model's"][0]
    assert beside == pytest.approx(losses[1] - losses[0], rel=1e-3, abs=1e-6)
    one.reference = None
    assert list(scores(one)) == ["training loss, low"]
    one.holdout = None
    assert "--holdout" in (by_name("membership").missing(one) or "")


def test_attackers_that_train_are_asked_for_what_they_were_not_given() -> None:
    one = side()
    for name in ("relearn_decoder", "input", "group", "probe"):
        for trial in by_name(name).carry_out(one):
            assert trial.facts == one.asked.held_back


def test_the_decoder_alone_is_trained() -> None:
    one = side()
    tuned, before = DecoderRelearning().tuned(one), tiny_generator()
    pairs = zip(tuned.encoder.parameters(), before.encoder.parameters(), strict=True)
    assert all(torch.equal(*pair) for pair in pairs)
    decoders = zip(tuned.model.decoder.parameters(), before.model.decoder.parameters(), strict=True)
    assert any(not torch.equal(*pair) for pair in decoders)


def test_relearning_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    one = side()
    one.settings = GeneratorAudit(relearning_steps=60)
    monkeypatch.setattr(Relearning, "ways", (Way("given", 1e-2),))
    plain = np.mean(one.values(one.look(), one.asked.held_back))
    assert max(trial.mean for trial in by_name("relearn").carry_out(one)) > plain + 0.1


def test_the_group_is_seen_in_what_was_drawn_alone() -> None:
    one = side()
    task, numbers = one.look(), one.asked.held_back
    wanted = np.zeros(len(numbers))
    for keys in views(10, 0):
        done = task.completions(one.asked.pictures, keys)[numbers].double()
        hidden = pixels_of(task.corruption.hidden(keys[numbers], 16), 16, task.corruption.patch)
        wanted += (torch.where(hidden, done, 128.0) / 255).flatten(1).mean(1).numpy() / VIEWS
    assert group_likelihood(one, task, numbers) == pytest.approx(wanted, rel=1e-6)
    one.group = lambda: None
    assert "not a group" in (by_name("group").missing(one) or "")


def test_a_probe_reads_what_is_there_and_no_more() -> None:
    generator = np.random.default_rng(0)
    small = generator.normal(size=(180, 4))
    noise = generator.normal(size=(180, 12))
    assert np.mean(probe_gains(noise[:120], small[:120], noise[120:], small[120:], 0)) < 0.1
    mixed = np.concatenate([small @ generator.normal(size=(4, 6)), noise], 1)
    assert np.mean(probe_gains(mixed[:120], small[:120], mixed[120:], small[120:], 0)) > 0.8
    wide = generator.normal(size=(120, 300))
    assert all(0 <= value <= 1 for value in probe_gains(wide[:60], small[:60], wide[60:], small[60:120], 0))
