"""Classifiers and generators in several processes: what one process makes that accumulates as many times the batches."""

from __future__ import annotations

from dataclasses import replace
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
NAMES = [
    *["classifier-fitted", *(f"classifier-{name}" for name in classifiers.METHODS)],
    *["generator-fitted", *(f"generator-{name}" for name in generators.METHODS)],
]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes that accumulates two batches."""
    folder = tmp_path_factory.mktemp("one")
    for kind in ("classifier", "generator"):
        pictures_together.keep(pictures_together.fitted(kind), 0, folder / f"{kind}.safetensors")
    plain = Session.train

    def accumulating(self: Session, phase: Phase, *given: Any, **options: Any) -> None:
        plain(self, replace(phase, accumulate=2), *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "train", accumulating)
        patch.setattr(session, "world", lambda: 2)  # the steps of a phase are as many
        pictures_together.everything(folder, folder)
    return folder


@pytest.fixture(scope="module")
def two(one: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> Path:
    """What two make."""
    folder = tmp_path_factory.mktemp("two")
    for done in commands.together(2, [one, folder], folder, script=HERE / "pictures_together.py"):
        assert done.code == 0, done.err[-3000:]
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_two_processes_train_what_one_trains(name: str, one: Path, two: Path) -> None:
    file = f"{name}.safetensors"
    alone, together = load_file(one / file), load_file(two / file)
    before = load_file(one / f"{name.partition('-')[0]}.safetensors")
    assert together.keys() == alone.keys()
    assert any(not torch.equal(alone[key], before[key]) for key in before)
    for key, value in alone.items():
        # Running statistics of batch normalisation are among them.
        size = float(value.float().abs().max())
        torch.testing.assert_close(
            together[key], value, rtol=1e-5, atol=1e-5 * size, msg=lambda text, key=key: f"{key}: {text}"
        )
    costs = []
    for folder in (one, two):
        with safe_open(folder / file, framework="pt") as opened:
            costs.append(opened.metadata()["passes"])
    assert costs[0] == costs[1]


def test_what_was_broken_off_ends_with_the_same_bits(two: Path) -> None:
    whole, resumed = (load_file(two / f"{name}.safetensors") for name in ("classifier-scrub", "resumed"))
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
