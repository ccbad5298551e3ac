"""Attacks on generators: they find what is there, nothing where nothing is, and leave the model as it was."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.measures.leaks import Attacker, leaks, linear_probe, ridge, tuned_decoder
from expunge.kinds.generator.session import fit_generator
from expunge.kinds.generator.task import ImageToImage
from expunge.train.phase import Phase
from small_generators import generator_work, tiny_generator
from small_images import pictures


@pytest.fixture(scope="module")
def attacker() -> Attacker:
    everything = distinct(60)
    rows = torch.arange(60)
    return Attacker(
        owned=everything.take(rows[:12]), others=everything.take(rows[12:36]), aimed=everything.take(rows[36:]), steps=6,
        seed=0,
    )  # fmt: skip


def distinct(count: int) -> Pictures:
    """Pictures that differ in their colours."""
    made = pictures(count)
    generator = torch.Generator().manual_seed(1)
    colour = torch.randint(0, 256, (count, 3, 1, 1), generator=generator)
    return Pictures(pixels=((made.pixels.float() * 0.1) + 0.9 * colour).to(torch.uint8), labels=made.labels)


@pytest.fixture(scope="module")
def trained(attacker: Attacker) -> ImageToImage:
    work = generator_work(tiny_generator())
    work.retain = attacker.owned.joined(attacker.others)
    fit_generator(work, Phase(name="fit", epochs=60, learning_rate=0.01, optimizer="adamw", batch_size=12))
    return work.task


def blind(task: ImageToImage) -> ImageToImage:
    """The same model with an encoder that says the same of every picture."""
    twin = task.twin(copy.deepcopy(task.model))
    with torch.no_grad():
        twin.encoder.layernorm.weight.zero_()  # type: ignore[union-attr, operator]
    return twin


def test_they_find_what_is_there_and_nothing_where_nothing_is(trained: ImageToImage, attacker: Attacker) -> None:
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    open_, shut = leaks(trained, attacker), leaks(blind(trained), attacker)
    assert set(open_) == {"leak_corruption", "leak_input", "leak_decoder", "leak_probe"}
    for name in open_:
        assert len(open_[name]) == 24
        assert shut[name].mean() <= 3 * attacker.chance()
        assert open_[name].mean() >= 6 * attacker.chance(), name
    assert all(torch.equal(value, before[name]) for name, value in trained.model.state_dict().items())


@pytest.mark.parametrize(("rows", "features"), [(7, 40), (40, 7), (9, 9)])
def test_the_probe_is_least_squares_with_rows_for_the_penalty(rows: int, features: int) -> None:
    """In float64, from the definition: |Xw - y|^2 + p|w|^2, where p is a hundredth of the features' mean square."""
    generator = np.random.default_rng(rows)
    x, y = (each - each.mean(0) for each in (generator.normal(size=(rows, size)) for size in (features, 3)))
    penalty = 0.01 * sum(float(column @ column) for column in x.T) / features
    padded = np.vstack([x, np.sqrt(penalty) * np.eye(features)])
    wanted, *_ = np.linalg.lstsq(padded, np.vstack([y, np.zeros((features, 3))]), rcond=None)
    np.testing.assert_allclose(ridge(torch.tensor(x), torch.tensor(y)).numpy(), wanted, rtol=1e-7, atol=1e-9)


def test_features_that_are_all_the_same_tell_nothing() -> None:
    for rows, features in ((3, 8), (8, 3)):
        found = ridge(torch.zeros(rows, features, dtype=torch.float64), torch.randn(rows, 2, dtype=torch.float64))
        assert torch.equal(found, torch.zeros(features, 2, dtype=torch.float64))


def test_the_same_again(trained: ImageToImage, attacker: Attacker) -> None:
    for attack in (tuned_decoder, linear_probe):
        first = attack(trained, attacker)
        torch.rand(3)
        assert (attack(trained, attacker) == first).all()
