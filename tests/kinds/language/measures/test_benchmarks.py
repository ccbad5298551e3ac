"""Rows of the seven benchmarks become the prompts, choices and answers of the well-known zero-shot tasks."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.benchmarks import BENCHMARKS, Question, available, load_questions

ARC = {
    "id": "1",
    "question": "What melts?",
    "choices": {"text": ["Ice.", "Fire.", "Air."], "label": ["A", "B", "C"]},
    "answerKey": "A",
}


def write(folder: Path, name: str, *rows: Any) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return folder


def only(folder: Path, name: str, row: dict[str, Any]) -> Question:
    (question,) = load_questions(name, write(folder, name, row))
    return question


@pytest.mark.parametrize("name", ["arc_easy", "arc_challenge"])
def test_arc(tmp_path: Path, name: str) -> None:
    assert only(tmp_path, name, ARC) == Question(("Question: What melts?\nAnswer:",), (" Ice.", " Fire.", " Air."), 0)


@pytest.mark.parametrize(
    ("labels", "key", "answer"),
    [("1234", "3", 2), ("ABCDE", "E", 4), ("ABCD", "B", 1)],
)
def test_answers_are_mapped_by_the_rows_own_labels(tmp_path: Path, labels: str, key: str, answer: int) -> None:
    choices = {"text": [f"text {label}" for label in labels], "label": list(labels)}
    assert only(tmp_path, "arc_easy", ARC | {"choices": choices, "answerKey": key}).answer == answer


def test_openbookqa_has_no_frame_around_its_stem(tmp_path: Path) -> None:
    row = {"question_stem": "The sun is", "choices": {"text": ["a star", "a tree"], "label": ["A", "B"]}}
    assert only(tmp_path, "openbookqa", row | {"answerKey": " B"}) == Question(
        ("The sun is",), (" a star", " a tree"), 1
    )


def test_boolq(tmp_path: Path) -> None:
    row = {"passage": "Salt is NaCl.", "question": "is salt a metal", "label": 0}
    expected = Question(("Salt is NaCl.\nQuestion: is salt a metal?\nAnswer:",), (" no", " yes"), 0)
    assert only(tmp_path, "boolq", row) == expected


def test_piqa(tmp_path: Path) -> None:
    row = {"goal": "Open a jar", "sol1": "Turn the lid.", "sol2": "Turn the jar off.", "label": 1}
    expected = Question(("Question: Open a jar\nAnswer:",), (" Turn the lid.", " Turn the jar off."), 1)
    assert only(tmp_path, "piqa", row) == expected


def test_winogrande_has_a_context_for_each_option_and_one_continuation(tmp_path: Path) -> None:
    row = {"sentence": "Ann thanked Eve because _ was kind.", "option1": "Ann", "option2": "Eve", "answer": "2"}
    question = only(tmp_path, "winogrande", row)
    contexts = ("Ann thanked Eve because Ann", "Ann thanked Eve because Eve")
    assert question == Question(contexts, (" was kind.",), 1)
    assert question.choices() == [(contexts[0], " was kind."), (contexts[1], " was kind.")]


def test_hellaswag_is_freed_from_wikihow_markup(tmp_path: Path) -> None:
    row = {
        "activity_label": "Baking",
        "ctx_a": "Baking [header] How to bake [title] Heat it. [step]",
        "ctx_b": "the Cook",
        "endings": ["mixes. [substeps] Then rests.", " waits [title] Eat", "a", "b"],
        "label": "1",
    }
    context = "Baking: Baking How to bake. Heat it. The cook"
    endings = (" mixes. Then rests.", " waits. Eat", " a", " b")
    assert only(tmp_path, "hellaswag", row) == Question((context,), endings, 1)


def test_rows_are_taken_from_the_start_and_blank_lines_skipped(tmp_path: Path) -> None:
    rows = [ARC | {"question": f"Number {i}"} for i in range(3)]
    write(tmp_path, "arc_easy", rows[0], "", *rows[1:])
    first_two = load_questions("arc_easy", tmp_path, rows=2)
    assert [question.contexts[0][10:18] for question in first_two] == ["Number 0", "Number 1"]
    assert len(load_questions("arc_easy", tmp_path, rows=100)) == 3


def test_available_names_the_files_that_are_there(tmp_path: Path) -> None:
    write(write(tmp_path, "piqa", {}), "arc_easy", ARC)
    assert available(tmp_path) == ["arc_easy", "piqa"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty has no benchmark[\s\S]*hellaswag\.jsonl"):
        available(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("arc_easy", "{", "not JSON in UTF-8"),
        ("arc_easy", "[1]", "not a JSON object"),
        ("arc_easy", {k: v for k, v in ARC.items() if k != "question"}, "no column question"),
        ("arc_easy", ARC | {"question": 3}, "column question is not text"),
        ("arc_easy", ARC | {"choices": ["a", "b"]}, "column choices is not an object"),
        ("arc_easy", ARC | {"choices": {"text": ["a"], "label": ["A", "B"]}}, "unequal lists"),
        ("arc_easy", ARC | {"choices": {"text": [], "label": []}}, "column text is not a list of texts"),
        ("arc_easy", ARC | {"answerKey": "D"}, "answerKey names no choice"),
        ("boolq", {"passage": "", "question": "", "label": -1}, "label names no choice"),
        ("boolq", {"passage": "", "question": "", "label": 2}, "label names no choice"),
        ("piqa", {"goal": "", "sol1": "", "sol2": "", "label": None}, "label names no choice"),
        (
            "hellaswag",
            {"activity_label": "", "ctx_a": "", "ctx_b": "", "endings": ["a"], "label": ""},
            "label names no",
        ),
        ("winogrande", {"sentence": "no blank", "option1": "", "option2": "", "answer": "1"}, "has no blank"),
        ("winogrande", {"sentence": "a _ b", "option1": "", "option2": "", "answer": ""}, "answer names no option"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, name: str, row: Any, message: str) -> None:
    write(tmp_path, name, "", row)
    with pytest.raises(DataError, match=message) as caught:
        load_questions(name, tmp_path)
    assert str(tmp_path / f"{name}.jsonl, line 2") in str(caught.value)


def test_bad_utf8_is_named_by_line(tmp_path: Path) -> None:
    (tmp_path / "boolq.jsonl").write_bytes(b'{"passage": "caf\xe9"}\n')
    with pytest.raises(DataError, match="line 1 is not JSON in UTF-8"):
        load_questions("boolq", tmp_path)


def test_missing_and_empty_files_and_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read .*boolq\.jsonl"):
        load_questions("boolq", tmp_path)
    write(tmp_path, "boolq")
    with pytest.raises(DataError, match="boolq has no rows"):
        load_questions("boolq", tmp_path)
    with pytest.raises(RecipeError, match="did you mean arc_easy"):
        load_questions("arc_esay", tmp_path)


def test_the_hub_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(RecipeError, match=r"expunge\[datasets\]"):
        load_questions("piqa", "hub")


def test_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, config: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((path, config, split))
        if path == BENCHMARKS["piqa"].hub:
            raise ConnectionError("no route")
        return [ARC, ARC | {"answerKey": "C"}, ARC | {"answerKey": "Z"}]

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    assert [question.answer for question in load_questions("arc_challenge", "hub", rows=2)] == [0, 2]
    assert asked == [("allenai/ai2_arc", "ARC-Challenge", "test")]
    with pytest.raises(DataError, match="ARC-Challenge test, row 3: column answerKey names no choice"):
        load_questions("arc_challenge", "hub")
    with pytest.raises(DataError, match=r"cannot load baber/piqa validation[\s\S]*no route"):
        load_questions("piqa", "hub")
