"""Stored scores held against those that the saved model has: what differs is named, and the folder stays as it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import expunge
from expunge import api
from expunge.cli import app
from expunge.core.score import Score
from expunge.errors import RecipeError, RunError
from expunge.report.sampled import compared, drawn
from expunge.runs.folder import RunFolder
from small import SMALL, contents, write_texts

WANTED = 50
"more than there are: all of them"


def score(value: float, measure: str = "perplexity", n: int = 4, **more: object) -> Score:
    fields = {"split": "forget", "model": "unlearned", "low": 0.0, "high": 1.0, "higher_is": "worse", "unit": "nats"}
    return Score(measure=measure, value=value, n=n, **{**fields, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stored", "again", "narrow", "same"),
    [
        (100.0, 100.09, False, True),
        (100.0, 100.11, False, False),
        (100.0, 100.9, True, True),
        (100.0, 101.1, True, False),
        (0.0, 9e-7, False, True),
        (0.0, 1.1e-6, False, False),
        (-4.0, -4.003, False, True),
        (-4.0, 4.0, True, False),
        (1.0, float("nan"), True, False),
    ],
)
def test_within_rounding(stored: float, again: float, narrow: bool, same: bool) -> None:
    (found,) = compared([score(stored)], [score(1.0, "recall"), score(again)], narrow)
    assert found.ok is same


def test_a_score_that_is_not_measured_again_or_of_other_examples_differs() -> None:
    assert [each.ok for each in compared([score(1.0)], [score(1.0, n=5)])] == [False]
    assert [each.ok for each in compared([score(1.0)], [score(1.0, split="retain")])] == [False]


def test_the_sample_is_of_the_unlearned_model() -> None:
    scores = [score(float(i), f"m{i}") for i in range(9)]
    others = [score(1.0, model="base"), score(1.0, "familiarity_judged")]
    assert sorted(each.measure for each in drawn([*scores, *others], WANTED)) == [f"m{i}" for i in range(9)]
    assert len({each.measure for each in drawn([*scores, *others], 3)}) == 3
    with pytest.raises(RecipeError, match="no score"):
        drawn(scores, 0)


@pytest.fixture(scope="module")
def finished(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    place = tmp_path_factory.mktemp("texts")
    forget, retain = write_texts(place)
    short = SMALL | {"training.max_steps": 2, "retain": str(retain), "method": "gradient_ascent"}
    return expunge.forget(str(forget), out=place / "run", model=str(tiny_model_folder), **short)


def test_all_scores_of_a_run_come_out_again_and_nothing_is_written(finished: RunFolder) -> None:
    before = contents(finished.path)
    findings = api.measure_again(finished.path, WANTED)
    assert [each.what for each in findings if each.ok is not True] == []
    own = [each for each in finished.read_scores() if each.model == "unlearned"]
    assert len(findings) == len(own) == 6
    assert contents(finished.path) == before


def test_a_changed_score_is_named(finished: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    rows = json.loads(folder.scores.read_text())
    changed = next(row for row in rows if (row["measure"], row["model"]) == ("perplexity", "unlearned"))
    changed["value"] *= 1.03  # more than rounding, in bfloat16 too
    folder.scores.write_text(json.dumps(rows))
    words = ("verify", str(folder.path), "--sample", str(WANTED), "--quiet")
    assert app(list(words), exit_on_error=False, result_action="return_value") == 1
    said = capsys.readouterr().out
    assert f"FAILED       the score perplexity, {changed['split']}" in said
    assert said.count("is not reproduced") == 1


def test_a_model_that_was_changed_is_refused(finished: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    (folder.model / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(RunError, match="changed since"):
        api.measure_again(folder.path, 1)
