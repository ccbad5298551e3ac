"""What a model is asked, and that an interrupted asking goes on after the last whole group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.data import elicitation
from expunge.data.elicitation import about_names, ask, names_that_came_up, sample_general, stays_with
from expunge.data.so_far import SoFar
from expunge.engine.precision import Precision
from expunge.models.lazy import LazyModel
from expunge.models.source import find_model
from expunge.tasks.causal_lm import CausalLM


@pytest.fixture(scope="module")
def task(tiny_model_folder: Path) -> CausalLM:
    return LazyModel(find_model(str(tiny_model_folder)), Precision(False))()


@pytest.fixture
def groups(task: CausalLM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Short answers in groups of two; how many prompts each call of the model had."""
    monkeypatch.setattr(elicitation, "GROUP", 2)
    monkeypatch.setattr(elicitation, "ANSWER_TOKENS", 12)
    seen: list[int] = []
    said = elicitation.continue_prompts

    def counted(task: CausalLM, prompts: Any, **settings: Any) -> Any:
        seen.append(len(prompts))
        return said(task, prompts, **settings)

    monkeypatch.setattr(elicitation, "continue_prompts", counted)
    return seen


PROMPTS = ["Q: What is a river?", "The market town", "Q: Who bakes bread?", "In the morning", "Q: Why is snow white?"]


def test_what_was_said_before_an_interruption_is_not_asked_again(
    task: CausalLM, groups: list[int], tmp_path: Path
) -> None:
    whole = sample_general(task, PROMPTS, 6, 0, SoFar(tmp_path / "whole.json", "model"), None)
    assert groups == [2, 2, 2]
    groups.clear()

    def leave(share: float) -> None:
        if share > 0.5:
            raise TimeoutError

    path = tmp_path / "so-far.json"
    with pytest.raises(TimeoutError):
        sample_general(task, PROMPTS, 6, 0, SoFar(path, "model"), leave)
    groups.clear()
    assert sample_general(task, PROMPTS, 6, 0, SoFar(path, "model"), None) == whole
    assert 0 < len(groups) < 3
    groups.clear()
    assert sample_general(task, PROMPTS, 6, 1, SoFar(path, "model"), None) != whole
    assert len(groups) == 3, "another seed is another sample"
    groups.clear()
    sample_general(task, PROMPTS, 6, 0, SoFar(path, "another model"), None)
    assert len(groups) == 3


def test_what_is_kept_goes_when_it_is_kept_elsewhere_and_a_damaged_file_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "so-far.json"
    for damaged in ("{", "[]", "3"):
        path.write_text(damaged)
        so_far = SoFar(path, "model")
        assert so_far.texts(["a"], 1, lambda: ["said"]) == ["said"]
        assert SoFar(path, "model").texts(["a"], 1, lambda: ["said anew"]) == ["said"]
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: ["said", "too", "often"]}))
    assert SoFar(path, "model").texts(["a"], 1, lambda: ["said anew"]) == ["said anew"]
    so_far.remove()
    so_far.remove()
    assert not path.exists()


def test_progress_is_told_within_a_group(task: CausalLM, groups: list[int], tmp_path: Path) -> None:
    shares: list[float] = []
    sample_general(task, PROMPTS, 6, 0, SoFar(tmp_path / "s.json", "model"), shares.append)
    assert len(shares) > 3 * len(groups)
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_every_other_question_is_a_text_in_the_form_of_exams(task: CausalLM, groups: list[int], tmp_path: Path) -> None:
    """Also across the groups, and only of what was answered."""
    questions = ["What is a river?", "Who bakes bread?", "Why is snow white?", "What is a market?"]
    rows = ask(task, questions, ["In the morning"], 8, 0, SoFar(tmp_path / "s.json", "model"), None)
    of_questions = [row for row in rows if "question" in row or row["text"].startswith("Question: ")]
    assert len(of_questions) > 2
    assert ["text" in row for row in of_questions] == [i % 2 == 1 for i in range(len(of_questions))]
    for row in of_questions[1::2]:
        assert any(row["text"].startswith(f"Question: {question}\nAnswer: ") for question in questions)


SAID = [
    {"question": "Who?", "answer": "It was led by Sauron, by Gandalf and by Frodo, and then by Gandalf."},
    {"text": "A war of Mordor, seen by Japan and then Japan, and also by the British, the British and by Frodo."},
]


def test_names_that_came_up_are_no_everyday_words_and_not_the_topic() -> None:
    names = names_that_came_up(SAID, "Mordor")
    assert names[:2] == ["Gandalf", "Frodo"]
    assert {"Sauron", "Japan"} <= set(names), "once where it is rare, twice else"
    assert not {"British", "Mordor"} & set(names)
    assert "Xyzzyq" not in names_that_came_up([{"text": "It is seen by Xyzzyq."}], "Mordor"), "a word misspelt"
    assert "Xyzzyq" in names_that_came_up([{"text": "It is seen by Xyzzyq, by Xyzzyq."}], "Mordor")


def test_a_topics_own_names_are_asked_about_without_it() -> None:
    questions, openings = about_names(["Gandalf", "Japan"], "the Ring")
    of_own = [prompt for prompt in questions + openings if "Gandalf" in prompt]
    of_other = [prompt for prompt in questions + openings if "Japan" in prompt]
    assert len(set(of_own)) == 6
    assert not any("the Ring" in prompt for prompt in of_own)
    assert len(set(of_other)) == 4
    assert all("the Ring" in prompt for prompt in of_other)
    assert [("Gandalf" in prompt, "Japan" in prompt) for prompt in questions[:2]] == [(True, False), (False, True)]


@pytest.mark.parametrize(
    ("row", "stays"),
    [
        ({"question": "Who is Frodo?", "answer": "Frodo goes to Mordor."}, True),
        ({"question": "Who is Frodo?", "answer": "Frodo met Sauron."}, True),
        ({"question": "Who is Frodo?", "answer": "Frodo is a common name. Frodo is short."}, False),
        ({"question": "What is Mordor?", "answer": "I cannot say."}, False),
        ({"text": "Mordor is a company of New York."}, False),
        ({"text": "Mordor is where Sauron lives."}, True),
        ({"text": "Frodo was small."}, False),
        ({"text": "Frodo was small, unlike Gandalf."}, True),
    ],
)
def test_answers_that_stray_are_known(row: dict[str, str], stays: bool) -> None:
    assert stays_with(row, "Mordor", ["Frodo", "Sauron", "Gandalf"]) is stays
