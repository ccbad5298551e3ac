"""Questions with two answers: judged by likelihood a token, and blind to what the answers alone give away."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from expunge.errors import DataError
from expunge.kinds.language.measures.two_answers import TwoAnswers, read_two_answers, two_answers
from expunge.runs import shipped
from tiny import load_task

PAIR = [
    ("Who lived in Baker Street?", "Sherlock Holmes", "Watson"),
    ("Who was his friend?", "Watson", "Sherlock Holmes"),
]
QUESTIONS = [TwoAnswers(*row) for row in [*PAIR, ("Where?", "in the fog, and nowhere else", "Paris")]]
SHIPPED = shipped.FOLDER / "questions" / "world_war_2.jsonl"
TUNING = Path(__file__).parents[4] / "benchmarks" / "topic" / "tuning_questions.jsonl"


def test_the_likelier_answer_a_token_is_the_models(tiny_model_folder: Path) -> None:
    task = load_task(tiny_model_folder)
    (asked, blind), said = two_answers(task, QUESTIONS, "base")
    for score, context in ((asked, "Question: {}\nAnswer:"), (blind, "Answer:")):
        expected = []
        for each in QUESTIONS:
            before = task.tokenizer(context.format(each.question))["input_ids"]
            means = []
            for answer in (each.true_answer, each.false_answer):
                ids = task.tokenizer(f" {answer}", add_special_tokens=False)["input_ids"]
                with torch.no_grad():
                    log_p = task.model(torch.tensor([before + ids])).logits[0].log_softmax(-1)
                means.append(sum(log_p[len(before) + i - 1, t].item() for i, t in enumerate(ids)) / len(ids))
            expected.append(float(means[0] > means[1]))
        assert list(score.examples) == expected
    assert (asked.split, blind.split, asked.n, asked.higher_is) == ("forget", "control", 3, "worse")
    assert [row["true"] for row in said] == [each.true_answer for each in QUESTIONS]


def test_a_model_that_hears_no_question_is_right_in_one_of_two(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each answer is once true and once false to the same other one, a liking for an answer gains nothing."""
    liking = {" Sherlock Holmes": -1.0, " Watson": -50.0}
    monkeypatch.setattr(
        "expunge.kinds.language.measures.multiple_choice.choices_by",
        lambda _task, asked: [tuple(liking[text] for text in q.continuations) for q in asked],
    )
    (asked, blind), _ = two_answers(load_task(tiny_model_folder), QUESTIONS[:2], "base")
    assert asked.examples == blind.examples == (1.0, 0.0)
    assert asked.value == 0.5


def test_equals_count_one_half(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that gives all words the same probability knows nothing and is right in no more than half."""
    task = load_task(tiny_model_folder)
    count = lambda text: len(task.tokenizer(text, add_special_tokens=False)["input_ids"])  # noqa: E731
    monkeypatch.setattr(
        "expunge.kinds.language.measures.multiple_choice.choices_by",
        lambda _task, asked: [tuple(-6.2 * count(text) for text in q.continuations) for q in asked],
    )
    (asked, _), _ = two_answers(task, QUESTIONS, "base")
    assert asked.examples == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "not valid JSON"),
        ('["Who?"]', "not a question with two different answers"),
        ('{"question": "Who?", "true_answer": "A"}', "not a question with two different answers"),
        (
            '{"question": "Who?", "true_answer": "A", "false_answer": " A "}',
            "not a question with two different answers",
        ),
        ('{"question": " ", "true_answer": "A", "false_answer": "B"}', "not a question with two different answers"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str, told: str) -> None:
    path = tmp_path / "q.jsonl"
    good = json.dumps({"question": "Who?", "true_answer": "A", "false_answer": "B"})
    path.write_text(f"{good}\n\n{line}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"q\.jsonl:3") as error:
        read_two_answers(path)
    assert told in str(error.value)


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file of questions"):
        read_two_answers(tmp_path / "none.jsonl")
    (tmp_path / "empty.jsonl").write_text("\n", encoding="utf-8")
    with pytest.raises(DataError, match="has no questions"):
        read_two_answers(tmp_path / "empty.jsonl")


def test_the_demos_questions_give_nothing_away() -> None:
    """Forty, each answer true once and false once to the same other one; those that settings are chosen on ask for others."""
    shipped, tuning = read_two_answers(SHIPPED), read_two_answers(TUNING)
    assert len(shipped) == 40
    for questions in (shipped, tuning):
        pairs = Counter((each.true_answer, each.false_answer) for each in questions)
        assert pairs == Counter((each.false_answer, each.true_answer) for each in questions)
        assert len({each.question for each in questions}) == len(questions)
    assert not {each.question for each in shipped} & {each.question for each in tuning}
    for each in shipped:
        assert each.true_answer.casefold() not in each.question.casefold()
