"""`expunge inspect`: what would be forgotten, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.cli import app
from expunge.errors import DataError, RecipeError
from small import write_texts

NO_TIME = "0.0000001"


def inspected(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app([str(word) for word in ("inspect", *words)], exit_on_error=False, result_action="return_value") == 0
    return capsys.readouterr().out


def test_it_says_what_would_be_forgotten(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    forget, retain = write_texts(tmp_path)
    (tmp_path / "facts.csv").write_text("q,a\nWho lived in Baker Street?,Sherlock Holmes\n")
    monkeypatch.chdir(tmp_path)
    words = (str(forget), "--retain", str(retain), "--model", str(tiny_model_folder))
    before = sorted(each.name for each in tmp_path.iterdir())
    found: dict[str, Any] = json.loads(inspected(capsys, *words, "--json"))
    assert sorted(each.name for each in tmp_path.iterdir()) == before
    assert found["target"]["documents"] == 1
    assert found["target"]["language"] == "English"
    assert "Lestrade" in found["terms"]["unique"]
    assert found["overlap"]["refused"] is None
    measured = {(row["measure"], row["split"]): row for row in found["knows"]}
    assert {("perplexity", "forget"), ("perplexity", "retain"), ("verbatim_recall", "forget")} <= set(measured)
    assert 1 < measured["perplexity", "forget"]["value"] < 1e6
    assert found["not_measured"] == []
    shown = inspected(capsys, *words, "--budget", NO_TIME)
    assert "not measured: perplexity of the forget set: out of time" in shown
    assert "forget.txt: 1 document," in shown


def test_a_retain_set_that_repeats_the_target(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    forget, _ = write_texts(tmp_path)
    (tmp_path / "same.txt").write_text(forget.read_text())
    shown = inspected(
        capsys,
        str(forget),
        "--retain",
        str(tmp_path / "same.txt"),
        "--model",
        str(tiny_model_folder),
        "--budget",
        NO_TIME,
    )
    assert "overlap: 100.0% of its runs of 8 words" in shown
    assert "a run would be refused" in shown


def test_several_targets_with_named_columns(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("a", "Sherlock Holmes lived in Baker Street."), ("b", "Irene Adler sang in Warsaw.")):
        (tmp_path / f"{name}.csv").write_text(f"id,body\n1,{text}\n")
    words = (str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--columns", "text=body", "--budget", NO_TIME, "--json")
    found = json.loads(inspected(capsys, *words, "--model", str(tiny_model_folder)))
    assert found["target"]["name"] == "a.csv, b.csv"
    assert found["target"]["documents"] == 2
    assert [entry["files_read"] for entry in found["files"]] == [1, 1]


def test_what_it_does_not_inspect(tmp_path: Path, tiny_model_folder: Path) -> None:
    from PIL import Image

    from expunge.api import inspect

    (tmp_path / "faces").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "faces" / "a.png")
    with pytest.raises(DataError, match="has no text") as caught:
        inspect(str(tmp_path / "faces"), model=str(tiny_model_folder))
    assert "for pictures there are recipes" in str(caught.value)
    with pytest.raises(RecipeError, match="toxic statements"):
        inspect(str(tmp_path), model=str(tiny_model_folder), forget_kind="toxicity")
