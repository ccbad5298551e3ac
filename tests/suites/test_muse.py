"""The suite MUSE: its files as published, and the whole story with both series on the tiny model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from expunge.api import compare
from expunge.cli.evaluate import evaluate
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.question_answers import Answered
from expunge.kinds.language.measures.recall import muse_rouge_l
from expunge.measures.language.models import privleak
from expunge.runs.folder import RunFolder
from expunge.runs.more import OfSuite
from expunge.runs.suite import suite_of, suites
from expunge.suites.muse.command import muse
from expunge.suites.muse.reading import questions, read_muse
from expunge.suites.tofu import asking, prepare, run
from expunge.suites.tofu.options import Models, Teaching
from muse_data import cut, muse_parts, story, texts, write_muse

LIMITS = ["--training.max_steps", "2", "--training.learning_rate", "1e-3", "--training.max_retain_increase", "9"]


def test_the_hubs_files_are_read(tmp_path: Path) -> None:
    sets = read_muse(str(write_muse(tmp_path)), ["sust", "scal"])
    assert (len(sets.forget), len(sets.retain), len(sets.more_retain)) == (4, 4, 4)  # the empty text is left out
    assert sets.forget[0].source.endswith("forget-00000-of-00002.parquet:1")
    assert [row.answer for row in sets.more_forget] == [row["text"] for row in texts("Jung")]
    first = sets.measured["forget_qa"][0]
    example = "Question: What did Kerr find on day 0?\nAnswer: a a hat\n\n"
    assert first.question == f"{example}Question: What did Brink find on day 0?\n"
    assert (first.form.opening, first.form.new_tokens) == ("Answer:", 32)
    assert first.form.ended("a hat\n\nQuestion: and") == "a hat"
    assert [(each.name, [len(part) for part in each.parts], each.chained) for each in sets.series] == [
        ("sust", [4, 4], True), ("scal", [4, 8], False),
    ]  # fmt: skip
    assert list(sets.said) == ["forget_qa", "retain_qa", "verbmem"]


def test_pieces_stand_before_an_older_whole_file(tmp_path: Path) -> None:
    """The hub's folder of passages holds a JSON file of an earlier version beside the Parquet that its card names."""
    folder = write_muse(tmp_path)
    (folder / "raw" / "forget.json").write_text(json.dumps(["of an earlier version"] * 9))
    assert len(read_muse(str(folder)).forget) == 4
    (folder / "raw" / "forget-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="raw/forget is not whole") as caught:
        read_muse(str(folder))
    assert "1 of 2 files" in str(caught.value)


def test_lists_of_texts_are_the_same_rows(tmp_path: Path) -> None:
    """As the benchmark's own script writes them."""
    folder = tmp_path / "written"
    for name, rows in muse_parts().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        said = [row["text"] for row in rows] if "text" in rows[0] else rows
        (folder / f"{name}.json").write_text(json.dumps(said, indent=1))
    assert read_muse(str(folder)).digest == read_muse(str(write_muse(tmp_path / "hub"))).digest


def test_texts_on_both_sides_are_left_out_of_what_is_kept_or_refused(tmp_path: Path) -> None:
    notice = {"text": "This video can not be played"}
    again = {"text": f"{texts('Brink')[0]['text']} So it was said."}
    few = {"raw__forget": [*texts("Brink"), notice], "raw__retain1": [*texts("Dorn"), *texts("Kerr"), notice, again]}
    sets = read_muse(str(write_muse(tmp_path / "few", **few)))
    assert len(sets.retain) == 8
    assert "2 texts of raw/retain1 repeat what is to be forgotten, and are left out of it" in sets.left_out
    with pytest.raises(DataError, match="what is to be kept is to be forgotten") as caught:
        read_muse(str(write_muse(tmp_path / "many", raw__retain2=texts("Brink"))))
    assert "4 of 4 texts of raw/retain2" in str(caught.value)


@pytest.mark.parametrize(("instead", "told", "where"), [
    ({"knowmem__forget_qa": [{"question": "Who?"}]}, "has no field `answer`", "forget_qa.jsonl:1"),
    ({"verbmem__forget": [{"prompt": "It", "gt": " "}]}, "`gt` is empty", "forget.jsonl:1"),
    ({"privleak__holdout": [{"body": "x"}]}, "has no field `text`", "holdout.jsonl:1"),
    ({"scal__forget_1": [{"text": ""}]}, "empty texts alone", "forget_1.jsonl"),
])  # fmt: skip
def test_what_does_not_fit_is_named(instead: dict[str, Any], told: str, where: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told) as caught:
        read_muse(str(write_muse(tmp_path, **instead)), ["scal"])
    assert where in str(caught.value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    folder = write_muse(tmp_path)
    for wrong in ("scale", "raw"):
        with pytest.raises(RecipeError, match="no such series"):
            read_muse(str(folder), [wrong])
    for path in (folder / "scal").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="has no scal/forget_1"):
        read_muse(str(folder), ["scal"])
    (folder / "privleak" / "holdout.jsonl").unlink()
    assert "PrivLeak is left out: there is no privleak/holdout" in read_muse(str(folder)).left_out


def test_passages_of_another_version_are_refused(tmp_path: Path) -> None:
    """Files of MUSE-Books beside texts of MUSE-News, say; white space and one passage that was cut do not count."""
    folder = write_muse(tmp_path / "cut", verbmem__forget=[{"prompt": "Brink", "gt": "left."}, *cut("Brink")[:1]])
    assert len(questions(str(folder), None).measured["verbmem"]) == 2
    folder = write_muse(tmp_path / "other", verbmem__forget=cut("Hart"))
    for read in (lambda: read_muse(str(folder)), lambda: questions(str(folder), None)):
        with pytest.raises(DataError, match="files are of different versions") as caught:
            read()
        assert "forget.jsonl:1" in str(caught.value)
    shutil.rmtree(folder / "raw")
    assert set(questions(str(folder), None).measured) == {"forget_qa", "retain_qa", "verbmem", "forget_texts",
                                                          "unseen_texts", "retain_texts"}  # fmt: skip


def test_rouge_is_that_of_words_as_they_stand() -> None:
    """MUSE's code does not stem: "running" and "runs" are two words. 2 P R / (P + R) with a longest subsequence of 2."""
    assert muse_rouge_l("The dog, running fast", "the dog runs") == pytest.approx(
        2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)
    )


def test_from_the_command_to_the_page(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = write_muse(tmp_path / "data"), tmp_path / "out"
    teaching = Teaching(epochs=8, learning_rate=1e-2, rows=3)

    def typed() -> int:
        models = Models(model=str(tiny_model_folder), methods="gradient_ascent", out=out)
        return muse(*LIMITS, data=str(data), series="sust", models=models, teaching=teaching)

    assert typed() == 0
    said = capsys.readouterr().out
    for part in ("VerbMem", "PrivLeak", "Requests one after another", "oracle", "gradient_ascent"):
        assert part in said, part
    figures = json.loads((out / "muse.json").read_text())
    assert figures["taught"] == {"forget": 8, "retain": 8}  # the second request's texts, too
    assert figures["given"] == {"forget": 4, "retain": 4}
    taught, oracle = figures["taught_model"], figures["oracle"]
    assert taught["verbmem/exact_memorization"]["value"] > oracle["verbmem/exact_memorization"]["value"]
    assert taught["forget_texts/nll"]["value"] < oracle["forget_texts/nll"]["value"]
    assert taught["privleak"]["value"] < 0  # it takes the forget set for its own

    def scores(who: str) -> list[list[float]]:
        files = [
            next((out / "stages").glob(f"answers-{who}-{part}-*/answers.json"))
            for part in ("forget_texts", "unseen_texts")
        ]
        return [[Answered.of(row).min_k for row in json.loads(path.read_text())] for path in files]

    ours, theirs = scores("taught"), scores("oracle")
    assert taught["privleak"]["value"] == pytest.approx(
        privleak(*([each] for each in ours), *theirs, resamples=0).value
    )

    (series,) = figures["series"]["sust"]
    assert [step["failed"] for step in series["steps"]] == ["", ""]
    assert series["steps"][0]["measures"]["verbmem/verbmem"]["n"] == 3
    first, second = (next((out / "cells").glob(f"*-sust-{number}")) / "0" for number in (1, 2))
    assert f"model: {first / 'model'}" in (second / "recipe.yaml").read_text()
    lines = (out / "data-muse" / "sust-2.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"text": story("Jung", 0)}

    models = {who: next(out.glob(f"stages/{who}-*/model")) for who in ("taught", "oracle")}
    scores_file = tmp_path / "scores.json"
    asked_for = OfSuite(suite="muse", data=str(data), oracle=str(models["oracle"]), rows=3)
    assert evaluate(str(models["taught"]), asked=asked_for, out=scores_file) == 0
    found = json.loads(scores_file.read_text())
    assert (found["measures"], found["oracle"]) == (taught, oracle)  # as the suite itself asked them
    assert "PrivLeak" in capsys.readouterr().out
    assert evaluate(str(models["taught"]), asked=OfSuite(suite="muse", data=str(data), rows=1)) == 0
    said = capsys.readouterr().out
    assert "Note: PrivLeak is not measured: there is no oracle (--oracle MODEL)." in said
    assert "forget quality" not in said
    assert "(oracle)" in compare([out, scores_file])

    suite = suite_of(out)
    assert suite is suites()["muse"]
    page = suite.render_report(RunFolder(out)).read_text()
    for part in ("which method forgets 8 texts", "Requests one after another", "KnowMem", "nearest to the oracle"):
        assert part in page, part

    for where, name in ((prepare, "teach_blocks"), (run, "unlearn_cell"), (asking, "answer_questions")):
        monkeypatch.setattr(where, name, lambda *_, **__: pytest.fail("this was done before"))
    assert typed() == 0
    assert json.loads((out / "muse.json").read_text()) == figures
