"""Impair and repair: the method as it is without steps, and towards the original model with them; killed and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from expunge.errors import RecipeError
from expunge.kinds.language.distilling import frozen
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.methods.repair import Repair
from expunge.runs.registry import make_method
from killed_work import killed_and_resumed
from tiny import again, ignore_log, load_task, random_blocks, write_table

INNER = {"name": "gradient_difference"}
TRAINING = Training(max_steps=3, learning_rate=1e-3, per_device_train_batch_size=2, num_train_epochs=9)
SHORT = {"of": INNER, "steps": 4, "learning_rate": 1e-3, "recovered": 0}
RETAIN = random_blocks([11, 12, 8, 11, 12], seed=2)


@pytest.fixture
def work(tiny_model_folder: Path, tmp_path: Path) -> LanguageWork:
    return LanguageWork(
        task=load_task(tiny_model_folder),
        forget=write_table(tmp_path / "forget", random_blocks([12, 9, 12, 10], seed=1)),
        retain=write_table(tmp_path / "retain", RETAIN, first_label=3),
        training=TRAINING,
        seed=0,
        checkpoints=tmp_path / "checkpoints",
        log=ignore_log,
    )


def kl(teacher: CausalLM, model: CausalLM) -> float:
    """The mean of sum_v q log(q / p) over the labelled tokens of the retain set, in float64."""
    values = []
    for block in RETAIN:
        with torch.no_grad():
            q, p = (each.model(torch.tensor([block])).logits[0, 2:-1].double() for each in (teacher, model))
        values += [float(torch.distributions.kl_divergence(*(torch.distributions.Categorical(logits=each) for each in pair)))
                   for pair in zip(q, p, strict=True)]  # fmt: skip
    return sum(values) / len(values)


def test_without_steps_it_is_the_method(work: LanguageWork, tiny_model_folder: Path) -> None:
    alone = again(work, tiny_model_folder, "alone")
    alone.carry_out(make_method(INNER))
    work.carry_out(Repair(of=INNER, steps=0))
    assert all(torch.equal(value, alone.weights()[name]) for name, value in work.weights().items())
    assert work.cost().steps == alone.cost().steps


def test_it_leads_from_what_the_method_made_back_towards_the_original(
    work: LanguageWork, tiny_model_folder: Path
) -> None:
    original = frozen(work.task)
    damaged = again(work, tiny_model_folder, "damaged")
    damaged.carry_out(make_method(INNER))
    work.carry_out(Repair(of=INNER, steps=40, learning_rate=3e-3, recovered=0))
    before, after = kl(original, damaged.task), kl(original, work.task)
    assert before > 1e-4
    assert after < before / 3


def test_it_stops_as_soon_as_it_is_close(work: LanguageWork) -> None:
    work.carry_out(Repair(**SHORT | {"recovered": 1e9}))
    assert [each.steps for each in work.trained] == [3, 1]
    assert "nats a token of its teacher" in work.cost().stopped


def test_killed_anywhere_it_ends_with_the_same_bits(work: LanguageWork, tiny_model_folder: Path) -> None:
    method = Repair(**SHORT)
    for whole, resumed in killed_and_resumed(
        work, tiny_model_folder, method, (2, 5)
    ):  # three steps unlearn, four distil
        assert resumed.cost().steps == 7
        assert all(torch.equal(value, whole.weights()[name]) for name, value in resumed.weights().items())


@pytest.mark.parametrize("of", ["repair", "undo", "kookmin", {"name": "spunge"}])
def test_what_it_cannot_wrap(of: Any) -> None:
    with pytest.raises(RecipeError, match="repair cannot wrap"):
        Repair(of=of)


def test_it_needs_a_retain_set(work: LanguageWork) -> None:
    with pytest.raises(RecipeError, match="needs a retain set"):
        replace(work, retain=None).carry_out(Repair(of="gradient_ascent"))
