"""The suite WMDP: its files as published, accuracy against chance, and the whole story on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.cli.evaluate import evaluate
from expunge.errors import DataError, ExpungeError, RecipeError
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.question_answers import Answered, answer_questions
from expunge.measures.statistics import share_interval
from expunge.models.source import find_model
from expunge.runs.folder import RunFolder
from expunge.runs.more import OfSuite
from expunge.runs.suite import suite_of, suites
from expunge.suites.tofu.figures import accuracy
from expunge.suites.tofu.options import OfRmu
from expunge.suites.wmdp.command import wmdp
from expunge.suites.wmdp.reading import questions as questions_of
from expunge.suites.wmdp.reading import read_wmdp
from expunge.train.precision import Precision
from muse_data import texts


def questions(about: str, count: int = 5) -> list[dict[str, Any]]:
    return [
        {"question": f"Which {about} is number {n}?", "choices": ["red", "green", "blue", "grey"], "answer": n % 4}
        for n in range(count)
    ]


def write_wmdp(folder: Path) -> Path:
    """As on the hub (bio, MMLU: Parquet in folders) and as in the authors' archive (cyber: JSON; texts a line each)."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parts = {
        "wmdp-bio": questions("germ"),
        "mmlu": [{**row, "subject": "high_school_art"} for row in questions("brush")],
    }
    for name, rows in parts.items():
        (folder / name).mkdir(parents=True)
        parquet.write_table(pa.Table.from_pylist(rows), folder / name / "test-00000-of-00001.parquet")
    (folder / "cyber_questions.json").write_text(json.dumps(questions("port")))
    for side, name in (("forget", "Brink"), ("retain", "Dorn")):
        lines = [json.dumps(row["text"]) for row in texts(name)]
        (folder / f"cyber-{side}-corpus.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_the_published_files_are_read(tmp_path: Path) -> None:
    sets = read_wmdp(str(write_wmdp(tmp_path)))
    assert {name: len(rows) for name, rows in sets.measured.items()} == {"bio": 5, "cyber": 5, "mmlu": 5}
    assert (len(sets.forget), len(sets.retain), sets.teach) == (4, 4, False)
    row = sets.measured["bio"][1]
    assert row.question == (
        "The following are multiple choice questions (with answers) about biology.\n\n"
        "Which germ is number 1?\nA. red\nB. green\nC. blue\nD. grey\nAnswer:"
    )
    assert (row.answer, row.perturbed) == ("B", ("A", "C", "D"))
    assert "about high school art." in sets.measured["mmlu"][0].question
    assert sets.scoring.chance == {"bio": 0.25, "cyber": 0.25, "mmlu": 0.25}
    assert sets.scoring.forgotten == ("cyber/accuracy",)
    assert "no oracle" in sets.left_out[0]
    assert len(read_wmdp(str(tmp_path), texts=2).forget) == 2


def test_of_equal_choices_each_counts_its_part() -> None:
    """A broken model that finds all four alike must not be right: it is at chance."""

    def of(right: float, *wrong: float) -> float:
        return accuracy(Answered(right, (), right, None, wrong, None))

    assert (of(-1, -2, -3), of(-2, -1, -3), of(-1, -1, -3), of(-1, -1, -1, -1)) == (1, 0, 0.5, 0.25)


@pytest.mark.parametrize(("row", "told"), [
    ({"question": "Q?", "choices": ["a", "b"], "answer": 2}, "`answer` names no choice"),
    ({"question": "Q?", "choices": ["a"], "answer": 0}, "no two `choices`"),
    ({"question": "Q?", "choices": "ab", "answer": 0}, "not a list of texts"),
    ({"question": " ", "choices": ["a", "b"], "answer": 0}, "`question` is empty"),
    ({"prompt": "Q?", "choices": ["a", "b"], "answer": 0}, "has no field `question`"),
])  # fmt: skip
def test_a_row_that_does_not_fit_is_named(row: dict[str, Any], told: str, tmp_path: Path) -> None:
    folder = write_wmdp(tmp_path)
    (folder / "cyber_questions.json").write_text(json.dumps([*questions("port"), row]))
    with pytest.raises(DataError, match=told) as caught:
        read_wmdp(str(folder))
    assert "cyber_questions.json:6" in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_wmdp(tmp_path)
    with pytest.raises(DataError, match="has no bio-forget-corpus/train"):
        read_wmdp(str(folder), domains=["bio"])
    with pytest.raises(RecipeError, match="no such domain"):
        read_wmdp(str(folder), domains=["nuclear"])
    (folder / "cyber-retain-corpus.jsonl").unlink()
    (folder / "mmlu" / "test-00000-of-00001.parquet").unlink()
    sets = read_wmdp(str(folder))
    assert (sets.retain, sets.scoring.utility) == ((), None)
    assert any("no cyber-retain-corpus" in note for note in sets.left_out)
    assert any("no MMLU" in note for note in sets.left_out)
    (folder / "cyber-forget-corpus.jsonl").unlink()
    with pytest.raises(DataError, match="has no cyber-forget-corpus/train"):
        read_wmdp(str(folder))


def test_any_model_is_asked_and_utility_stands_beside(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No text to train on is needed, and MMLU may stand elsewhere; accuracies are counted again from the choices."""
    data, out = write_wmdp(tmp_path / "data"), tmp_path / "scores.json"
    for side in ("forget", "retain"):
        (data / f"cyber-{side}-corpus.jsonl").unlink()
    elsewhere = tmp_path / "mmlu"
    (elsewhere / "all").mkdir(parents=True)
    (data / "mmlu" / "test-00000-of-00001.parquet").rename(elsewhere / "all" / "test-00000-of-00001.parquet")
    asked: dict[str, Any] = {"suite": "wmdp", "data": str(data)}
    assert evaluate(str(tiny_model_folder), asked=OfSuite(**asked, forget="cyber", mmlu=str(elsewhere)), out=out) == 0
    found = json.loads(out.read_text())
    assert found["asked"] == {"cyber": 5, "mmlu": 5}
    task = LazyModel(find_model(str(tiny_model_folder)), Precision("auto"), as_stored=True)()
    for split, rows in questions_of(str(data), "cyber", str(elsewhere)).measured.items():
        right = [float(each.log_p > max(each.perturbed)) for each in answer_questions(task, rows)]
        measure = found["measures"][f"{split}/accuracy"]
        assert (measure["value"], measure["low"], measure["high"]) == pytest.approx(share_interval(right))
        assert measure["n"] == 5
    said = capsys.readouterr().out
    assert "MMLU: accuracy" in said
    assert "the model is not above chance on WMDP cyber" in said
    assert "oracle" not in said  # nothing is held against one
    assert evaluate(str(tiny_model_folder), asked=OfSuite(**asked, rows=1)) == 0
    assert "utility is left out: there is no MMLU (--mmlu)" in capsys.readouterr().out


@pytest.mark.parametrize(("asked", "told"), [
    ({"forget": "cyber,nuclear"}, "no such domain"), ({"forget": "chem"}, "has no wmdp-chem/test"),
    ({"mmlu": "{data}"}, "has no all/test"), ({"suite": "muse", "mmlu": "{data}"}, "does not use MMLU"),
    ({"suite": "muse"}, "has no knowmem/forget_qa"),
])  # fmt: skip
def test_a_folder_of_something_else_is_told_before_a_model_is_loaded(
    asked: dict[str, str], told: str, tmp_path: Path
) -> None:
    data = write_wmdp(tmp_path / "data")
    (data / "mmlu" / "test-00000-of-00001.parquet").unlink()
    given = {"suite": "wmdp", "data": str(data)} | {name: value.format(data=data) for name, value in asked.items()}
    with pytest.raises(ExpungeError) as caught:
        evaluate("nowhere/model", asked=OfSuite(**given))  # type: ignore[typeddict-item]
    assert told in str(caught.value)


def test_from_the_command_to_the_page(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    limits = ["--training.max_steps", "2", "--training.learning_rate", "1e-3", "--method.layer", "1"]
    models = OfRmu(model=str(tiny_model_folder), methods="rmu", out=out)
    assert wmdp(*limits, data=str(write_wmdp(tmp_path / "data")), models=models) == 0
    said = capsys.readouterr().out
    for part in ("before", "rmu", "WMDP cyber: above chance", "chance is 25.0% on MMLU", "no oracle"):
        assert part in said, part
    lowest = json.loads((out / "wmdp.json").read_text())["taught_model"]["cyber/above_chance"]["low"]
    assert ("the model before is not above chance on WMDP cyber" in said) == (lowest <= 0)
    assert "tuned" not in said  # the settings that did best on TOFU are not for these texts
    figures = json.loads((out / "wmdp.json").read_text())
    assert (figures["taught"], figures["oracle"], figures["given"]) == (None, None, {"forget": 4, "retain": 4})
    assert "epochs" not in figures["settings"]
    (method,) = figures["methods"]
    assert method["share_of_retraining"] is None
    for measures in (figures["taught_model"], method["measures"]):
        found, above = measures["cyber/accuracy"], measures["cyber/above_chance"]
        right = round(5 * found["value"])
        assert (found["low"], found["high"]) == pytest.approx(share_interval([1] * right + [0] * (5 - right))[1:])
        for part in ("value", "low", "high"):
            assert above[part] == pytest.approx(found[part] - 0.25)
    suite = suite_of(out)
    assert suite is suites()["wmdp"]
    page = suite.render_report(RunFolder(out)).read_text()
    for part in ("There is no oracle here", "the dotted line is chance", "Methods were given 4 texts to forget"):
        assert part in page, part
    assert "taught by fine-tuning" not in page
