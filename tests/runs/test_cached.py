"""Cached results: computed once, computed again when what they come from changes, missing when that failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from expunge.core import storage
from expunge.kinds.language.recipe import Recipe
from expunge.runs import context as module
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> Run[Recipe]:
    return Run(Recipe(forget="x"), RunFolder(tmp_path / "run").create())


class Maker:
    def __init__(self, word: str = "x") -> None:
        self.word, self.calls = word, 0

    def __call__(self, path: Path) -> None:
        self.calls += 1
        storage.write_text(path / "result.txt", self.word)


def test_a_stage_is_made_once(run: Run[Recipe]) -> None:
    make, other = Maker("first"), Maker("second")
    path = run.cached("terms", {"seed": 1}, make)
    assert run.cached("terms", {"seed": 1}, other) == path
    assert (make.calls, other.calls) == (1, 0)
    assert (path / "result.txt").read_text() == "first"
    assert path.parent == run.folder.stages
    assert [(row["name"], row["reused"]) for row in run.folder.read_events("stage")] == [
        ("terms", False),
        ("terms", True),
    ]
    held = storage.read_json(path / "stage.json")
    assert (held["name"], held["made_from"]) == ("terms", {"seed": 1})


@pytest.mark.parametrize("changed", [{"seed": 2}, {"seed": 1, "more": None}, {"seed": "1"}])
def test_it_is_made_again_when_what_it_was_made_from_changes(changed: dict[str, Any], run: Run[Recipe]) -> None:
    first, make = run.cached("terms", {"seed": 1}, Maker()), Maker()
    assert run.cached("terms", changed, make) != first
    assert make.calls == 1


def test_the_order_of_names_does_not_matter_and_the_stages_name_does(run: Run[Recipe]) -> None:
    assert run.cache_path("a", {"x": 1, "y": 2}) == run.cache_path("a", {"y": 2, "x": 1})
    assert run.cache_path("a", {}) != run.cache_path("b", {})


def test_a_new_version_makes_all_again(run: Run[Recipe], monkeypatch: pytest.MonkeyPatch) -> None:
    before = run.cache_path("a", {})
    monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    assert run.cache_path("a", {}) != before


def test_a_stage_that_failed_is_not_there(run: Run[Recipe]) -> None:
    def fail(path: Path) -> None:
        storage.write_text(path / "result.txt", "half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run.cached("terms", {}, fail)
    assert list(run.folder.stages.iterdir()) == []
    make = Maker()
    run.cached("terms", {}, make)
    assert make.calls == 1


def test_a_json_value_is_computed_once(run: Run[Recipe]) -> None:
    calls = []
    for _ in range(2):
        assert run.cached_json("value", {}, lambda: calls.append(1) or [1, "x"], "value.json") == [1, "x"]
    assert len(calls) == 1


def test_notices_are_listed_once_in_order(run: Run[Recipe]) -> None:
    for text in ("b", "a", "b"):
        run.notice(text)
    assert run.notices() == ["b", "a"]
