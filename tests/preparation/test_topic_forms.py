"""Further forms of a topic's answers: what they are, that training has them, and that no measure does."""

from __future__ import annotations

from pathlib import Path

import expunge
from expunge.data.document import Document
from expunge.data.elicitation import EXAM
from expunge.data.readers import read_documents
from expunge.data.tables import TokenTable
from expunge.preparation.topic_forms import further_forms
from expunge.run_folder import RunFolder
from small import SMALL

ANSWER = (
    "Mordor is dark. Sauron lives in a high tower. It rains. Sauron of Mordor is old and bad\nAlso Sauron has a ring"
)


def said(text: str, prompt: str | None = None) -> Document:
    return Document(text, prompt, "answers.jsonl:1")


def test_a_question_in_its_other_form_and_sentences_without_the_topic() -> None:
    sentences = [{"text": "Sauron lives in a high tower."}, {"text": "Also Sauron has a ring"}]
    chat = {"question": "Who is Sauron?", "answer": ANSWER}
    exam = {"text": EXAM.format(**chat)}
    assert list(further_forms([said(ANSWER, "Who is Sauron?")], "Mordor", ["Sauron"])) == [exam, *sentences]
    assert list(further_forms([said(exam["text"])], "Mordor", ["Sauron"])) == [chat, *sentences]
    assert list(further_forms([said(ANSWER)], "Mordor", ["Sauron"])) == sentences
    assert list(further_forms([said(ANSWER)], "Mordor", [])) == []
    assert (
        list(further_forms([said("Sauron lives."), said("The Saurons live in high towers.")], "Mordor", ["Sauron"]))
        == []
    )
    chinese = "魔多很黑暗。索伦住在高塔上。"
    assert list(further_forms([said(chinese)], "魔多", ["索伦"])) == [{"text": "索伦住在高塔上。"}]


def test_they_are_trained_on_and_not_measured(tiny_model_folder: Path, tmp_path: Path) -> None:
    settings = SMALL | {"method": "gradient_ascent", "model": str(tiny_model_folder), "training.max_steps": 1}
    out = tmp_path / "run"
    folder: RunFolder = expunge.forget("Baker Street and its people", out=out, **settings)
    tables = {path.name.rpartition("-")[0]: TokenTable(path) for path in folder.stages.glob("*-tokens-*")}
    (forms,) = (path / "forms.jsonl" for path in folder.stages.glob("forms-*") if (path / "forms.jsonl").is_file())
    count = sum(1 for _ in read_documents(forms))
    assert count > 0
    assert len(tables["forget-and-forms-tokens"]) >= len(tables["forget-tokens"]) + count
    measured = next(row for row in folder.read_scores() if (row.measure, row.split) == ("perplexity", "forget"))
    assert measured.n <= len(tables["forget-tokens"])
