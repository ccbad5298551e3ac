"""Whole runs on image classifiers in two processes."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import expunge
from expunge import spine
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.train.phase import Phase
from expunge.train.session import Session
from fork_server import Commands
from small_images import SMALL_IMAGES, write_class_folders


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that trains a base model, an oracle, and in phases."""
    folder = tmp_path_factory.mktemp("recipe")
    data = write_class_folders(folder / "animals")
    options = SMALL_IMAGES | {"method": "scrub", "method.epochs": 1, "retrained": "train"}
    (folder / "recipe.yaml").write_text(make(ImageRecipe, {"data": str(data)}, options).to_yaml())
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def two(recipe: Path, tmp_path_factory: pytest.TempPathFactory, commands: Commands) -> RunFolder:
    """The run in two processes, and once more."""
    folder = tmp_path_factory.mktemp("two")
    for _ in range(2):
        first, second = commands.together(2, ["run", recipe, "--out", folder / "run"], folder)
        assert first.code in (0, 3), first.err
        assert (second.code, second.out) == (0, ""), second.err
    return RunFolder(folder / "run")


def models(folder: RunFolder) -> list[dict[str, torch.Tensor]]:
    """The weights of the base model, the oracle and the unlearned one."""
    fitted = [next(folder.stages.glob(f"fitted-{name}-*")) / "model" for name in ("base", "retrained")]
    return [load_file(each / "model.safetensors") for each in (*fitted, folder.model)]


def test_two_processes_train_what_one_trains(
    recipe: Path, two: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Session.train

    def accumulating(self: Session, phase: Phase, *given: Any, **options: Any) -> None:
        plain(self, replace(phase, accumulate=2), *given, **options)

    monkeypatch.setattr(Session, "train", accumulating)
    monkeypatch.setattr(spine, "render_report", lambda folder: None)
    one = expunge.run(recipe, tmp_path / "one")
    for alone, together in zip(models(one), models(two), strict=True):
        for key, value in alone.items():
            size = float(value.float().abs().max())
            torch.testing.assert_close(together[key], value, rtol=1e-5, atol=1e-5 * size)
    costs = [json.loads(folder.record.read_text())["cost"] for folder in (one, two)]
    assert costs[0]["image_passes"] == costs[1]["image_passes"]


def test_only_the_first_process_owns_the_folder(two: RunFolder) -> None:
    events = list(two.read_events())
    made = [event["name"] for event in events if event["event"] == "stage" and not event["reused"]]
    assert sorted(made) == sorted({*made})  # each once, though the command ran twice
    assert {"fitted-base", "fitted-retrained", "unlearned", "measured-unlearned"} <= set(made)
    record = json.loads(two.record.read_text())
    assert record["processes"] == 2
    assert two.report.is_file()
    assert list(two.checkpoints.iterdir()) == []


def test_two_processes_audit_and_measure_as_one_does(two: RunFolder, tmp_path: Path, commands: Commands) -> None:
    found = []
    for processes in (1, 2):
        run = shutil.copytree(two.path, tmp_path / str(processes) / "run")
        for words in (["audit", run, "--attacks", "quantize,prune"], ["evaluate", run]):
            first, *others = commands.together(processes, words, tmp_path)
            assert first.code in (0, 3), first.err
            assert all((each.code, each.out) == (0, "") for each in others), others[-1].err
        audit = json.loads((run / "audit" / "audit.json").read_text())
        rows = [*audit["findings"], *json.loads((run / "scores.json").read_text())]
        found.append([math.nan if row["value"] is None else row["value"] for row in rows])
        assert {attack["name"] for attack in audit["attacks"]} == {"quantize", "prune"}
    assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize(
    ("words", "env", "text"),
    [
        (["--method", "sisa"], {}, "sharded classifiers are trained in one process"),
        ([], {"ACCELERATE_USE_FSDP": "true"}, "weights of image classifiers are not spread over processes"),
    ],
)
def test_what_is_not_done_is_refused_before_anything_is_read(
    words: list[str], env: dict[str, str], text: str, recipe: Path, tmp_path: Path, commands: Commands
) -> None:
    given = ["run", recipe, "--out", tmp_path / "run", *words]
    for done in commands.together(2, given, tmp_path, env=env):
        assert done.code == 2
        assert text in done.err
        assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()
