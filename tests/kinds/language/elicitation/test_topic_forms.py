"""Further forms of a topic's answers: what they are, that training has them, and that no measure does."""

from __future__ import annotations

from pathlib import Path

import pytest

import expunge
from expunge.core.storage import read_json
from expunge.data.text.document import Document
from expunge.data.text.readers import read_documents
from expunge.kinds.language import session as language_work
from expunge.kinds.language.elicitation.asking import EXAM
from expunge.kinds.language.elicitation.topic_forms import further_forms
from expunge.kinds.language.token_dataset import TokenTable
from small import SMALL
from tiny_model import build_talker

ANSWER = (
    "Mordor is dark. Sauron lives in a high tower. It rains. Sauron of mordor is old and bad!\nAlso Sauron has a ring?\n"
    "Sauron and Sauron and Sauron and Sauron. Sauron is a tail that is cut"
)
SENTENCES = [{"text": "Sauron lives in a high tower."}, {"text": "Also Sauron has a ring?"}]


def forms(text: str, prompt: str | None = None, chat: bool = True, topic: str = "Mordor") -> list[dict[str, str]]:
    return list(further_forms([Document(text, prompt, "answers.jsonl:1")], ["Moria", topic], ["Sauron", "索伦"], chat))


def test_a_question_in_its_other_form_and_sentences_without_the_topic() -> None:
    chat = {"question": "Who is Sauron?", "answer": ANSWER}
    exam = {"text": EXAM.format(**chat)}
    assert forms(ANSWER, "Who is Sauron?") == [exam, *SENTENCES]
    assert forms(exam["text"]) == [chat, *SENTENCES]
    assert forms(ANSWER) == SENTENCES
    assert forms("The Saurons live in high old towers.") == []
    assert forms("魔多很黑暗。索伦住在高塔上。", topic="魔多") == [{"text": "索伦住在高塔上。"}]


def test_without_a_chat_form_there_is_no_other_form() -> None:
    exam = EXAM.format(question="Who is Sauron?", answer=ANSWER)
    assert forms(ANSWER, "Who is Sauron?", chat=False) == forms(exam, chat=False) == SENTENCES


@pytest.mark.parametrize(("method", "further"), [("gradient_ascent", True), ("whos_harry_potter", False)])
def test_they_are_trained_on_and_not_measured(
    method: str, further: bool, tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generic labels are made for the answers alone."""
    trained: list[TokenTable] = []
    carry_out = language_work.LanguageWork.carry_out

    def watched(self: language_work.LanguageWork, *method: object) -> None:
        trained.append(self.forget)
        carry_out(self, *method)  # type: ignore[arg-type]

    monkeypatch.setattr(language_work.LanguageWork, "carry_out", watched)
    model = build_talker(tmp_path / "model", " Baker Street", tiny_model_folder)
    settings = SMALL | {"method": method, "model": str(model), "training.max_steps": 1}
    settings |= {"data.elicited_answers": 10, "data.retain_answers": 10, "data.block_size": 256}
    folder = expunge.forget("Baker Street and its people", out=tmp_path / "run", **settings)
    tables = {path.name.rpartition("-")[0]: TokenTable(path) for path in folder.stages.glob("*-tokens-*")}
    answers, both = tables["forget-tokens"], tables["forget-and-forms-tokens"]
    (made,) = (path / "forms.jsonl" for path in folder.stages.glob("forms-*"))
    assert len(both) == len(answers) + sum(1 for _ in read_documents(made)) > len(answers)
    assert len(trained[-1]) == len(both if further else answers)
    measured = next(row for row in folder.read_scores() if (row.measure, row.split) == ("perplexity", "forget"))
    assert measured.n == min(len(answers), SMALL["evaluation.max_blocks"])
    sizes = read_json(folder.record)["sets"]
    assert sizes["forms"]["blocks"] == len(both) - len(answers)
    assert sizes["forget"]["blocks"] == len(answers)
