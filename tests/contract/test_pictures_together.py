"""Classifiers and generators in several processes: what one process makes that accumulates as many times the batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pictures_together
import pytest
import test_generator_methods as generators
import test_image_methods as classifiers
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from expunge.kinds.generator import session
from expunge.train.phase import Phase
from expunge.train.session import Session
from fork_server import Commands

HERE = Path(__file__).parent
EVERY = [
    *(f"classifier-{name}" for name in ("fitted", *classifiers.METHODS)),
    *(f"generator-{name}" for name in ("fitted", *generators.METHODS)),
]
# From random weights; a loss, and gradients of a method's own; phases, broken off; some weights alone; draws inside of a
# step, and passes that the loss counts itself.
QUICK = [
    *(f"classifier-{name}" for name in ("fitted", "gradient_difference", "npo_sam", "scrub", "sun")),
    *(f"generator-{name}" for name in ("fitted", "noisy_label", "retain_label")),
]
REST = [name for name in EVERY if name not in QUICK]
Made = Callable[[Sequence[str]], tuple[Path, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Made:
    """Folders of what one process makes that accumulates two batches, and of what two processes make."""

    @cache
    def folders(*names: str) -> tuple[Path, Path]:
        one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
        for kind in ("classifier", "generator"):
            pictures_together.keep(pictures_together.fitted(kind), 0, one / f"{kind}.safetensors")
        plain = Session.train

        def accumulating(self: Session, phase: Phase, *given: Any, **options: Any) -> None:
            plain(self, replace(phase, accumulate=2), *given, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Session, "train", accumulating)
            patch.setattr(session, "world", lambda: 2)  # the steps of a phase are as many
            pictures_together.everything(names, one, one)
        script = HERE / "pictures_together.py"
        for done in commands.together(2, [one, two, *names], two, script=script):
            assert done.code == 0, done.err[-3000:]
        return one, two

    return lambda names: folders(*names)


def check(name: str, one: Path, two: Path) -> None:
    """Raise unless two processes made what one made: running statistics of batch normalisation are among it."""
    file = f"{name}.safetensors"
    alone, together = load_file(one / file), load_file(two / file)
    before = load_file(one / f"{name.partition('-')[0]}.safetensors")
    assert together.keys() == alone.keys()
    assert any(not torch.equal(alone[key], before[key]) for key in before)
    for key, value in alone.items():
        atol = 1e-5 * float(value.float().abs().max())
        torch.testing.assert_close(together[key], value, rtol=1e-5, atol=atol)
    costs = []
    for folder in (one, two):
        with safe_open(folder / file, framework="pt") as opened:
            costs.append(opened.metadata()["passes"])
    assert costs[0] == costs[1]


@pytest.mark.parametrize("name", QUICK)
def test_two_processes_train_what_one_trains(name: str, made: Made) -> None:
    check(name, *made(QUICK))


@pytest.mark.long
@pytest.mark.parametrize("name", REST)
def test_so_they_do_with_every_method(name: str, made: Made) -> None:
    check(name, *made(REST))


def test_what_was_broken_off_ends_with_the_same_bits(made: Made) -> None:
    _, two = made(QUICK)
    whole, resumed = (load_file(two / f"{name}.safetensors") for name in ("classifier-scrub", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
