"""The reinforced model: knows the target better, and leaves the base as it was."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from expunge.errors import DivergedError
from expunge.kinds.language.recipe import Reinforcement, Training
from expunge.methods.whos_harry_potter.reinforced import Reinforced
from tiny import ignore_log, load_task, make_batch, random_blocks, write_table

BLOCKS = random_blocks([24, 30, 18, 21], seed=4)


@pytest.mark.parametrize("adapter", [True, False])
def test_the_twin_learns_the_base_does_not_and_both_come_back(
    adapter: bool, tiny_model_folder: Path, tmp_path: Path
) -> None:
    settings = Reinforcement(
        adapter=adapter, rank=4, learning_rate=1e-2, num_train_epochs=6, per_device_train_batch_size=2
    )
    task = load_task(tiny_model_folder)
    batch = make_batch(BLOCKS)
    before = task.nll(batch).item()
    weights = {name: p.detach().clone() for name, p in task.model.named_parameters()}
    reinforced = Reinforced(task, settings, seed=1)
    events: list[str] = []
    table = write_table(tmp_path / "target", BLOCKS)

    def log(event: str, **values: Any) -> None:
        events.append(event)

    reinforced.train(table, Training(bf16=False), 0, tmp_path / "checkpoints", log, None)
    assert events == ["step"] * 12
    assert reinforced.base.nll(batch).item() == pytest.approx(before, rel=1e-6)
    with reinforced.twin() as twin:
        after = twin.nll(batch).item()
    assert after < before - 0.1
    assert reinforced.base.nll(batch).item() == pytest.approx(before, rel=1e-6)
    for name, parameter in task.model.named_parameters():
        if "lora" not in name:
            assert torch.equal(parameter, weights[name.replace("base_layer.", "")]), name

    reinforced.save(tmp_path)
    assert [path.suffix for path in tmp_path.glob("reinforced.*")] == [".safetensors"]
    again = Reinforced(load_task(tiny_model_folder), settings, seed=2)
    again.load(tmp_path)
    assert again.base.nll(batch).item() == pytest.approx(before, rel=1e-6)
    with again.twin() as twin:
        assert twin.nll(batch).item() == pytest.approx(after, rel=1e-6)


def test_where_it_diverges_its_own_learning_rate_is_named(tiny_model_folder: Path, tmp_path: Path) -> None:
    settings = Reinforcement(rank=2, learning_rate=1e30, max_steps=3)
    reinforced = Reinforced(load_task(tiny_model_folder), settings, seed=1)
    table = write_table(tmp_path / "t", BLOCKS)
    with pytest.raises(DivergedError) as caught:
        reinforced.train(table, Training(bf16=False), 0, tmp_path / "c", ignore_log, None)
    assert "a lower --reinforcement.learning_rate than 1e+30" in str(caught.value)
    assert "--training.learning_rate" not in str(caught.value)


def test_the_twin_is_switched_off_after_an_error(tiny_model_folder: Path, tmp_path: Path) -> None:
    settings = Reinforcement(rank=2, learning_rate=1e-1, max_steps=2)
    task = load_task(tiny_model_folder)
    batch = make_batch(BLOCKS)
    before = task.nll(batch).item()
    reinforced = Reinforced(task, settings, seed=1)
    reinforced.train(write_table(tmp_path / "t", BLOCKS), Training(bf16=False), 0, tmp_path / "c", ignore_log, None)

    def fail() -> None:
        with reinforced.twin() as twin:
            assert twin.nll(batch).item() != pytest.approx(before, rel=1e-4)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert task.nll(batch).item() == pytest.approx(before, rel=1e-6)
