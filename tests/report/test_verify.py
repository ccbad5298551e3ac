"""Verifying runs whose record is missing, or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import RunError
from expunge.kinds.language.recipe import Recipe
from expunge.report.verify import verify_run
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT
from expunge.runs.versions import versions

RECORD: dict[str, Any] = {
    "name": "run",
    "verdict": {"passed": True, "checks": []},
    "thresholds": {},
    "cost": {},
    "versions": {},
    "digests": {"model": {"config.json": "a1"}, "base model": {"config.json": "a1"}, "files": {"recipe.yaml": "07"}},
}


def make_run(path: Path) -> RunFolder:
    folder = RunFolder(path).create()
    folder.recipe.write_text(Recipe(forget="Harry Potter").to_yaml(), encoding="utf-8")
    folder.record.write_text(json.dumps(RECORD), encoding="utf-8")
    folder.report.write_text("", encoding="utf-8")
    return folder


def failing(folder: RunFolder) -> list[str]:
    return [finding.what for finding in verify_run(folder) if finding.ok is False]


@pytest.mark.parametrize(
    ("place", "value", "named"),
    [
        (("digests",), None, "digests"),
        (("digests",), [], "digests"),
        (("versions",), None, "versions"),
        (("verdict",), "passed", "verdict"),
        (("cost",), None, "cost"),
        (("digests", "model"), None, "digests / model"),
        (("digests", "model"), "abc", "digests / model"),
        (("digests", "base model"), None, "digests / base model"),
        (("digests", "files"), ["recipe.yaml"], "digests / files"),
    ],
)
def test_a_damaged_record_is_a_failed_check(place: tuple[str, ...], value: Any, named: str, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    record = json.loads(folder.record.read_text(encoding="utf-8"))
    part = record
    for name in place[:-1]:
        part = part[name]
    if value is None:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    folder.record.write_text(json.dumps(record), encoding="utf-8")
    found = [what for what in failing(folder) if what.startswith("record.json")]
    assert found == [f"record.json: {named} is missing or damaged"]


def test_a_record_that_is_no_mapping(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.record.write_text("[]", encoding="utf-8")
    assert "record.json: digests is missing or damaged" in failing(folder)


def test_damaged_answers_are_a_failed_check(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.record.write_text(json.dumps(RECORD | {"format": FORMAT, "versions": versions()}), encoding="utf-8")
    folder.answers.write_text('[{"prompt": "Ha', encoding="utf-8")
    assert "report.html is not what the folder's other files make" in failing(folder)


def test_a_run_without_a_record(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    folder.record.unlink()
    with pytest.raises(RunError, match=r"has no record\.json: the run is not finished") as caught:
        verify_run(folder)
    assert caught.value.next_step == "run the command that started it again; it resumes where it stopped"
    folder.log("finished", passed=True)
    with pytest.raises(RunError, match=r"has no record\.json: it was removed"):
        verify_run(folder)
