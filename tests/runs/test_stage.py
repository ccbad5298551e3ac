"""Stages: made once, made anew when what they come from changes, absent when they failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expunge.core import storage
from expunge.runs import stage as module
from expunge.runs.folder import RunFolder
from expunge.runs.stage import stage, stage_path


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run").create()


class Maker:
    def __init__(self, word: str = "x") -> None:
        self.word, self.calls = word, 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        storage.write_text(path / "result.txt", self.word)


def test_a_stage_is_made_once(folder: RunFolder) -> None:
    make, other = Maker("first"), Maker("second")
    path = stage(folder, "terms", {"seed": 1}, make)
    assert stage(folder, "terms", {"seed": 1}, other) == path
    assert (make.calls, other.calls) == (1, 0)
    assert (path / "result.txt").read_text() == "first"
    assert path.parent == folder.stages
    assert [(row["name"], row["reused"]) for row in folder.read_events("stage")] == [("terms", False), ("terms", True)]
    held = storage.read_json(path / "stage.json")
    assert (held["name"], held["made_from"]) == ("terms", {"seed": 1})


@pytest.mark.parametrize("changed", [{"seed": 2}, {"seed": 1, "more": None}, {"seed": "1"}])
def test_it_is_made_anew_when_what_it_was_made_from_changes(changed: dict[str, Any], folder: RunFolder) -> None:
    first, make = stage(folder, "terms", {"seed": 1}, Maker()), Maker()
    assert stage(folder, "terms", changed, make) != first
    assert make.calls == 1


def test_the_order_of_names_does_not_matter_and_the_stages_name_does(folder: RunFolder) -> None:
    assert stage_path(folder, "a", {"x": 1, "y": 2}) == stage_path(folder, "a", {"y": 2, "x": 1})
    assert stage_path(folder, "a", {}) != stage_path(folder, "b", {})


def test_a_new_version_makes_all_anew(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = stage_path(folder, "a", {})
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert stage_path(folder, "a", {}) != before


def test_a_stage_that_failed_is_not_there(folder: RunFolder) -> None:
    def fail(path: Path) -> None:
        storage.write_text(path / "result.txt", "half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        stage(folder, "terms", {}, fail)
    assert list(folder.stages.iterdir()) == []
    make = Maker()
    stage(folder, "terms", {}, make)
    assert make.calls == 1
