"""`expunge audit` and `expunge evaluate` in two processes: what one process finds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from planted import Planted

import expunge
from expunge.core import storage
from expunge.kinds.language.recipe import make_recipe
from expunge.runs.folder import RunFolder
from fork_server import Commands, Ended

ATTACKS = "quantize,relearn,prune,lens"
VARYING = {"seconds", "time", "fixed_at", "created", "versions", "earlier_limits"}
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def finished(planted: Planted) -> Path:
    """A finished run on a planted model."""
    content = {
        "model": str(planted.base),
        "forget": str(planted.paths["forget"]),
        "retain": str(planted.paths["retain"]),
        "retrained": str(planted.retrained),
        "method": {"name": "npo"},
        "data": {"retain_answers": 0, "block_size": 64},
        "training": {"max_steps": 4, "probe_steps": 2, "learning_rate": 1e-3, "bf16": False},
        "evaluation": {"ordinary_text": str(planted.paths["retain"]), "max_blocks": 4, "max_prompts": 4, "samples": 1},
        "audit": {"facts": 15, "relearning_steps": 4},
    }
    return expunge.run(make_recipe(content, {}), planted.folder / "together" / "run").path


def alike(one: Any, other: Any, where: str = "") -> None:
    """Raise unless two JSON values are the same, numbers to 1e-6, but for clocks."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one.keys() - VARYING:
            alike(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (left, right) in enumerate(zip(one, other, strict=True)):
            alike(left, right, f"{where}[{number}]")
    elif isinstance(one, float):
        assert other == pytest.approx(one, rel=1e-5, abs=1e-6), where
    else:
        assert one == other, where


def first_alone_tells(ended: list[Ended]) -> None:
    """Raise unless all ended well, and the first alone said so."""
    assert ended[0].code in (0, 3), ended[0].err[-2000:]
    assert all((each.code, each.out) == (0, "") for each in ended[1:]), ended[-1].err[-2000:]


def test_two_processes_audit_as_one_does(finished: Path, tmp_path: Path, commands: Commands) -> None:
    words = ["audit", "run", "--attacks", ATTACKS, "--json"]
    for name, processes in (("one", 1), ("two", 2)):
        shutil.copytree(finished, tmp_path / name / "run")
        ended = commands.together(processes, words, tmp_path / name)
        first_alone_tells(ended)
        (tmp_path / f"{name}.json").write_text(ended[0].out)
    one, two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", "two"))
    assert [each["name"] for each in one["attacks"]] == [each["name"] for each in two["attacks"]]
    assert len(one["attacks"]) == len(ATTACKS.split(","))
    alike(one, two)
    folder = RunFolder(tmp_path / "two" / "run")
    assert storage.read_json(folder.audit / "audit.json") == two
    # Results of the other process are in the folder, so that the same command makes none again.
    found = {each.name for each in folder.stages.glob("audit-*")}
    assert found == {each.name for each in RunFolder(tmp_path / "one" / "run").stages.glob("audit-*")}


def test_an_attack_that_fails_in_one_process_ends_all_with_the_reason(
    finished: Path, tmp_path: Path, commands: Commands
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    ended = commands.together(2, [tmp_path / "run"], tmp_path, script=HERE / "failing_audit.py")
    assert all(each.code not in (0, 3) for each in ended), [each.code for each in ended]
    assert "process 1: ValueError: no attack here" in ended[0].err
    assert "the first process stopped: it gives the reason" in ended[1].err
    assert not (tmp_path / "run" / "audit" / "audit.json").exists()


def test_two_processes_measure_a_run_again_as_one_does(
    finished: Path, planted: Planted, tmp_path: Path, commands: Commands
) -> None:
    """With an additional text, and another model on its sets."""
    again = ["evaluate", "run", "--ordinary-text", planted.paths["holdout"], "--json"]
    other = ["evaluate", planted.retrained, "--recipe", "run/recipe.yaml", "--out", "scores.json"]
    for name, processes in (("one", 1), ("two", 2)):
        shutil.copytree(finished, tmp_path / name / "run")
        for words in (again, other):
            ended = commands.together(processes, words, tmp_path / name)
            first_alone_tells(ended)
    folders = [RunFolder(tmp_path / name / "run") for name in ("one", "two")]
    alike(*(storage.read_json(folder.scores) for folder in folders))
    alike(*(storage.read_json(folder.per_example) for folder in folders))
    alike(*(storage.read_json(tmp_path / name / "scores.json") for name in ("one", "two")))
    assert storage.read_json(folders[1].scores) != storage.read_json(finished / "scores.json")
