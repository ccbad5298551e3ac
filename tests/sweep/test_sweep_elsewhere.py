"""Trials in other processes and on Ray: the same as one after the other."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import RunError
from expunge.kinds.language.measures import general_knowledge
from expunge.kinds.language.recipe import Recipe
from expunge.sweep.axes import Space, read_space
from expunge.sweep.run import run_sweep
from small import SMALL, results, write_texts

FACTS = general_knowledge.facts


@pytest.fixture(scope="module", autouse=True)
def _all_facts() -> Iterator[None]:
    """Other processes ask for all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(general_knowledge, "facts", FACTS)
        yield


@pytest.fixture(scope="module")
def space(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Space:
    forget, retain = write_texts(tmp_path_factory.mktemp("texts"))
    fields = {
        "model": str(tiny_model_folder),
        "forget": str(forget),
        "retain": str(retain),
        "method": "gradient_difference",
    }
    fixed = {name: value for name, value in SMALL.items() if name.startswith(("data", "evaluation"))}
    fixed |= {"evaluation.familiarity": False, "training.max_steps": 2}
    return read_space(Recipe, fields, fixed, ("training.learning_rate=1e-3,2e-3,1e30",), "recipe.yaml")


@pytest.fixture(scope="module")
def alone(space: Space, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """Three trials one after the other, of which one fails."""
    out = tmp_path_factory.mktemp("alone") / "s"
    return out, run_sweep(space, out, trials=3, jobs=1)["trials"]


def same(out: Path, trials: list[dict[str, Any]], alone: tuple[Path, list[dict[str, Any]]]) -> None:
    assert [bool(each["failed"]) for each in trials] == [False, False, True]
    assert [each | {"seconds": 0} for each in trials] == [each | {"seconds": 0} for each in alone[1]]
    for each in trials:
        if not each["failed"]:
            assert results(out / each["run"]) == results(alone[0] / each["run"])


def test_in_processes(space: Space, alone: tuple[Path, list[dict[str, Any]]], tmp_path: Path) -> None:
    same(tmp_path / "s", run_sweep(space, tmp_path / "s", trials=3, jobs=2)["trials"], alone)


@pytest.mark.long
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_on_ray(
    space: Space, alone: tuple[Path, list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    monkeypatch.chdir(Path(space.fields["forget"]).parent)  # what is typed may be relative
    space = replace(space, fields={**space.fields, "forget": "forget.txt", "retain": "retain.txt"})
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        same(tmp_path / "s", run_sweep(space, tmp_path / "s", trials=3, ray=True)["trials"], alone)
    finally:
        ray.shutdown()


def test_ray_that_is_not_installed_is_told_before_any_work(
    space: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match="Ray is not installed"):
        run_sweep(space, tmp_path / "s", trials=2, ray=True)
    assert not (tmp_path / "s").exists()
