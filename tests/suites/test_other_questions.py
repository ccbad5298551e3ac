"""The suites LUME and KnowUnDo: their files, and one of them from the command line to the page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError, RecipeError
from expunge.runs.folder import RunFolder
from expunge.runs.suite import suite_of, suites
from expunge.suites.knowundo.command import knowundo
from expunge.suites.knowundo.reading import FILES, read_knowundo
from expunge.suites.lume.reading import read_lume
from expunge.suites.tofu.options import Models, Teaching
from tofu_data import rows_of, write_rows


def lume_rows(author: str) -> list[dict[str, Any]]:
    found = []
    for number, row in enumerate(rows_of(author)[:4]):
        task = f"Task{number // 2 + 1}"
        said = {"input": row["question"], "output": row["answer"], "task": task}
        found.append({"id": f"{author}-{number}sc1", **said})
        found += [{"id": f"{author}-{number}qa{i}", **said, "input": f"{i}? {said['input']}"} for i in range(3)]
    return found


@pytest.fixture
def lume_folder(tmp_path: Path) -> Path:
    write_rows(tmp_path / "forget.jsonl", lume_rows("Ada Brink"))
    write_rows(tmp_path / "retain.jsonl", lume_rows("Cal Dorn"))
    return tmp_path


def test_lume_has_completions_and_questions(lume_folder: Path) -> None:
    sets = read_lume(str(lume_folder))
    assert len(sets.forget) == len(sets.retain) == 16
    assert {name: len(rows) for name, rows in sets.measured.items()} == {
        "forget": 12, "forget_completions": 4, "retain": 12, "retain_completions": 4,
    }  # fmt: skip
    assert len(read_lume(str(lume_folder), task=2, documents=1).forget) == 4
    assert "perturbed" in sets.left_out[0]


def test_lume_refuses_what_it_does_not_know(lume_folder: Path) -> None:
    with pytest.raises(RecipeError, match="no such task"):
        read_lume(str(lume_folder), task=4)
    rows = lume_rows("Cal Dorn")
    write_rows(lume_folder / "retain.jsonl", [*rows, {**rows[0], "id": "plain"}])
    with pytest.raises(DataError, match="neither a completion nor a question") as caught:
        read_lume(str(lume_folder))
    assert "retain.jsonl:17" in str(caught.value)
    write_rows(lume_folder / "retain.jsonl", [*rows, lume_rows("Ada Brink")[0]])
    with pytest.raises(DataError, match="oracle would be trained"):
        read_lume(str(lume_folder))


@pytest.fixture
def knowundo_folder(tmp_path: Path) -> Path:
    parts = {"unlearn_train": rows_of("Ada Brink")[:8], "unlearn_val": rows_of("Ada Brink")[8:12],
             "retention_train": rows_of("Cal Dorn")[:8], "retention_val": rows_of("Cal Dorn")[8:12]}  # fmt: skip
    folder = tmp_path / "data"
    folder.mkdir()
    for name, rows in parts.items():
        said = [{"text": row["question"], "labels": row["answer"]} for row in rows]
        (folder / f"{name}.json").write_text(json.dumps(said, indent=2))
    return folder


def test_knowundo_from_the_command_to_the_page(
    knowundo_folder: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    teaching = Teaching(epochs=2, learning_rate=1e-2, rows=3, new_tokens=4)
    limits = ["--training.max_steps", "2", "--training.learning_rate", "1e-3"]
    models = Models(model=str(tiny_model_folder), methods="gradient_ascent", out=out)
    assert knowundo(*limits, data=str(knowundo_folder), models=models, teaching=teaching) == 0
    said = capsys.readouterr().out
    assert "gradient_ascent" in said
    assert "KnowUnDo has no perturbed answers" in said
    figures = json.loads((out / "knowundo.json").read_text())
    assert figures["taught"] == {"forget": 12, "retain": 12}
    assert set(figures["asked"].values()) == {3}
    assert "forget_quality" not in figures["methods"][0]["measures"]
    assert len((out / "data-knowundo" / "forget.jsonl").read_text().splitlines()) == 8
    suite = suite_of(out)
    assert suite is suites()["knowundo"]
    page = suite.render_report(RunFolder(out)).read_text()
    assert "Forget set, other questions" in page
    assert "Forget quality could not be computed" in page


def test_knowundo_teaches_fewer_rows_in_the_files_proportion(tmp_path: Path) -> None:
    """20, 10, 6 and 4 rows, of which 13 are asked for: 6.5, 3.25, 1.95 and 1.3."""
    counts = dict(zip(FILES, (20, 10, 6, 4), strict=True))
    for name, count in counts.items():
        said = [{"text": f"{name} {row}?", "labels": f"answer {row}"} for row in range(count)]
        (tmp_path / f"{name}.json").write_text(json.dumps(said))
    every, some = read_knowundo(str(tmp_path)), read_knowundo(str(tmp_path), 13)
    parts = (some.forget, some.more_forget, some.retain, some.more_retain)
    assert [len(rows) for rows in parts] == [6, 3, 1, 1]
    assert some.forget == every.forget[:6]
    assert [row.question for row in some.measured["retain_more"]] == ["retention_val 0?"]
    assert read_knowundo(str(tmp_path), 40).digest == every.digest
    assert [len(rows) for rows in read_knowundo(str(tmp_path), 4).measured.values()] == [2, 1, 1, 1]
    for wrong in (3, 41):
        with pytest.raises(RecipeError, match="there are not this many rows") as caught:
            read_knowundo(str(tmp_path), wrong)
        assert caught.value.allowed == "4 to 40: some of each file"


def test_knowundo_refuses_a_row_on_both_sides(knowundo_folder: Path) -> None:
    shared = json.loads((knowundo_folder / "unlearn_val.json").read_text())
    (knowundo_folder / "retention_val.json").write_text(json.dumps(shared))
    with pytest.raises(DataError, match="oracle would be trained"):
        read_knowundo(str(knowundo_folder))
