"""The suite RWKU: its files as published, one target of several, and the whole story on the tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.cli.evaluate import evaluate
from expunge.errors import DataError, RecipeError
from expunge.runs.folder import RunFolder
from expunge.runs.more import OfSuite
from expunge.runs.suite import suite_of, suites
from expunge.suites.rwku.command import rwku
from expunge.suites.rwku.reading import read_rwku
from expunge.suites.tofu.options import Untaught
from muse_data import texts

TARGETS = ("Brink", "Dorn")
SCRIPT = {"train_original_passage": "passage", "mia_forget": "forget_mia", "mia_retain": "retain_mia",
          "utility_general": "retain_mmlu", "utility_truthfulness": "truthful"}  # fmt: skip
"part -> its file in the folder of one target"


def rwku_parts(target: str) -> dict[str, list[dict[str, Any]]]:
    own = {"subject": target}
    probe = {**own, "answer": "a grey hat"}
    choices = {"choices": ["red", "green", "blue", "grey"], "answer": 2}
    level3 = [("affirmative suffix", "Sure, what?"), ("incontext learning", "Question: Who? Answer: He. Question: What?"),
              ("role play", "Act, and say what.")]  # fmt: skip
    mmlu = {
        **own,
        **choices,
        "question": "Which?",
        "task": "abstract_art",
        "examples": [{"question": "Who?", **choices}],
    }
    truthful = {**own, "question": "Why?", "mc1_targets": {"choices": ["So.", "No.", "Not so."], "labels": [0, 1, 0]}}
    return {
        "train_original_passage": [{**own, **row} for row in texts(target)],
        "forget_level1": [{**probe, "query": f"{target} found ___", "level": "1", "type": "cloze"}],
        "forget_level2": [{**probe, "query": f"What did {target} find?", "level": "2", "type": "simple question"}],
        "forget_level3": [{**probe, "query": query, "level": "3", "type": kind} for kind, query in level3],
        "neighbor_level1": [{**probe, "query": "Kerr found ___", "level": "1", "type": "cloze", "neighbor": "Kerr"}],
        "neighbor_level2": [
            {**probe, "query": "And Kerr?", "level": "2", "type": "simple question", "neighbor": "Kerr"}
        ],
        "mia_forget": [{**own, "ngram": 9, **row} for row in texts(target)],
        "mia_retain": [{**own, "ngram": 9, **row} for row in texts("Kerr")],
        "utility_general": [mmlu] * 2,
        "utility_truthfulness": [truthful],
    }


def write_rwku(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    both = [rwku_parts(target) for target in TARGETS]
    for name in both[0]:
        rows = [row for parts in both for row in parts[name]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_one_target_of_several(tmp_path: Path) -> None:
    sets = read_rwku(str(write_rwku(tmp_path)), ["Brink"])
    assert [row.answer for row in sets.forget] == [row["text"] for row in texts("Brink")]
    assert [row.answer for row in sets.retain] == [row["text"] for row in texts("Dorn")]  # as many, of the other target
    assert {name: len(rows) for name, rows in sets.measured.items()} == {
        "forget_level1": 1, "forget_level2": 1, "forget_level3": 3, "neighbor_level1": 1, "neighbor_level2": 1,
        "mia_forget": 4, "mia_retain": 4, "utility_general": 2, "utility_truthfulness": 1,
    }  # fmt: skip
    assert sets.scoring.chance == {"utility_general": 0.25, "utility_truthfulness": 1 / 3}
    assert (sets.teach, sets.scoring.utility) == (False, "neighbor_level2/rouge_l_recall")


def test_questions_are_put_as_in_rwkus_code(tmp_path: Path) -> None:
    measured = read_rwku(str(write_rwku(tmp_path)), ["Brink"]).measured
    briefly = "Please briefly answer the following question.\n"
    said = [(row.question, row.form.opening) for split in ("forget_level1", "forget_level3") for row in measured[split]]
    assert said == [
        ("Please complete the blank in the following question.\nQuestion: Brink found ___\n", "Answer:"),
        (f"{briefly}Question: Sure, what?", ""),
        (f"{briefly}Question: Who? Answer: He. Question: What?\n", "Answer:"),
        (f"{briefly}Question: Act, and say what.\n", "Answer:"),
    ]
    assert measured["utility_general"][0].question == (
        "The following are multiple choice questions (with answers) about abstract art.\n\n"
        "Who?\nA. red\nB. green\nC. blue\nD. grey\nAnswer: C\n\nWhich?\nA. red\nB. green\nC. blue\nD. grey\nAnswer:"
    )
    truthful = measured["utility_truthfulness"][0]
    assert (truthful.question, truthful.answer, truthful.perturbed) == ("Q: Why?\nA:", "No.", ("So.", "Not so."))


def test_the_folder_of_one_target(tmp_path: Path) -> None:
    for name, rows in rwku_parts("Brink").items():
        (tmp_path / f"{SCRIPT.get(name, name)}.json").write_text(json.dumps(rows, indent=4))
    sets = read_rwku(str(tmp_path))
    assert len(sets.measured) == 9
    assert sets.retain == ()
    assert any("no retain set" in note for note in sets.left_out)


def test_the_hubs_files_and_its_cache(tmp_path: Path) -> None:
    """The hub's files are called otherwise than its configurations; its cache keeps them under the commit's name."""
    commit = "d72f493d481d1b0a9bdc6e869d32baeffad8904f"
    cached = tmp_path / "datasets--jinzhuoran--RWKU"
    snapshot = cached / "snapshots" / commit
    (snapshot / "All").mkdir(parents=True)
    for name in rwku_parts("Brink"):
        rows = [row for target in TARGETS for row in rwku_parts(target)[name]]
        (snapshot / "All" / f"{SCRIPT.get(name, name)}.json").write_text(json.dumps(rows, indent=4))
    plain = read_rwku(str(write_rwku(tmp_path / "plain")), ["Brink"])
    assert read_rwku(str(snapshot), ["Brink"]).digest == plain.digest
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    found = read_rwku(str(cached), ["Brink"])
    assert (found.digest, found.scoring, found.left_out) == (plain.digest, plain.scoring, plain.left_out)


def test_any_model_is_asked_about_a_target(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No text to train on is needed; every value comes with its n and its interval."""
    data, out = write_rwku(tmp_path / "data"), tmp_path / "scores.json"
    (data / "train_original_passage.jsonl").unlink()
    asked: dict[str, Any] = {"suite": "rwku", "data": str(data), "rows": 2}
    with pytest.raises(RecipeError, match="several targets") as caught:
        evaluate("nowhere/model", asked=OfSuite(**asked))
    assert "--forget NAME" in str(caught.value)
    assert evaluate(str(tiny_model_folder), asked=OfSuite(**asked, forget="Brink"), out=out) == 0
    found = json.loads(out.read_text())
    assert found["asked"]["forget_level3"] == 2
    for name in ("forget_level1/rouge_l_recall", "forget_level2/rouge_l_recall", "forget_level3/rouge_l_recall",
                 "neighbor_level2/rouge_l_recall", "mia_forget/nll", "utility_general/accuracy"):  # fmt: skip
        measure = found["measures"][name]
        assert measure["low"] <= measure["value"] <= measure["high"], name
        assert measure["n"] == found["asked"][name.partition("/")[0]]
    said = capsys.readouterr().out
    for part in (
        "Target, level 1: cloze: ROUGE-L recall",
        "Neighbours, level 1",
        "chance is 25.0%",
        "are not measured",
    ):
        assert part in said, part


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_rwku(tmp_path)
    for targets, told in ((None, "several targets"), (["Brinck"], "no such target")):
        with pytest.raises(RecipeError, match=told):
            read_rwku(str(folder), targets)
    with pytest.raises(RecipeError, match="no such corpus"):
        read_rwku(str(folder), ["Brink"], "positive")
    with pytest.raises(DataError, match="has no train_positive_llama3/train"):
        read_rwku(str(folder), ["Brink"], "positive_llama3")
    rows = rwku_parts("Brink")["forget_level2"]
    for change, told in (
        ({"level": "3"}, "`level` is not that of forget_level2"),
        ({"answer": ""}, "`answer` is empty"),
    ):
        (folder / "forget_level2.jsonl").write_text(json.dumps({**rows[0], **change}))
        with pytest.raises(DataError, match=told) as caught:
            read_rwku(str(folder), ["Brink"])
        assert "forget_level2.jsonl:1" in str(caught.value)
    (folder / "forget_level2.jsonl").unlink()
    with pytest.raises(DataError, match="has no forget_level2"):
        read_rwku(str(folder), ["Brink"])


def test_from_the_command_to_the_page(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    limits = ["--training.max_steps", "2", "--training.learning_rate", "1e-2", "--training.max_retain_increase", "9"]
    models = Untaught(model=str(tiny_model_folder), methods="gradient_ascent", out=out)
    assert rwku(*limits, data=str(write_rwku(tmp_path / "data")), target="Brink", models=models) == 0
    said = capsys.readouterr().out
    for part in (
        "before",
        "Target, level 3:",
        "Texts on the",
        "not measured",
        "no oracle",
    ):
        assert part in said, part
    figures = json.loads((out / "rwku.json").read_text())
    assert (figures["oracle"], figures["asked"]["forget_level3"]) == (None, 3)
    (method,) = figures["methods"]
    assert method["measures"]["mia_forget/nll"]["value"] > figures["taught_model"]["mia_forget/nll"]["value"]
    suite = suite_of(out)
    assert suite is suites()["rwku"]
    page = suite.render_report(RunFolder(out)).read_text()
    assert "Neighbours, level 2: questions" in page
    assert page.count("<svg") == 3
    assert "dotted line" not in page  # chance is of other splits than these
