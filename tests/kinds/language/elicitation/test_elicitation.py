"""What a model is asked, and that an interrupted asking resumes after the last whole group."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expunge.errors import DataError
from expunge.kinds.language.elicitation import asking as elicitation
from expunge.kinds.language.elicitation.asking import (
    about_names,
    ask,
    elicit_topic,
    elicit_topics,
    sample_general,
)
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.elicitation.topic_names import TopicNames
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.sampling import Continuation
from expunge.kinds.language.task import CausalLM
from expunge.models.source import find_model
from expunge.train.precision import Precision


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
        assert SoFar(path, "model").texts(["a"], 1, lambda: ["said again"]) == ["said"]
    (key,) = json.loads(path.read_text())
    path.write_text(json.dumps({key: ["said", "too", "often"]}))
    assert SoFar(path, "model").texts(["a"], 1, lambda: ["said again"]) == ["said again"]
    so_far.remove()
    so_far.remove()
    assert not path.exists()


def test_progress_is_told_within_a_group(task: CausalLM, groups: list[int], tmp_path: Path) -> None:
    shares: list[float] = []
    sample_general(task, PROMPTS, 6, 0, SoFar(tmp_path / "s.json", "model"), shares.append)
    assert len(shares) > 3 * len(groups)
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_every_other_question_is_a_text_in_the_form_of_exams(
    task: CausalLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said = [[Continuation(" some words that were said", 5)]]
    monkeypatch.setattr(elicitation, "continue_prompts", lambda task, prompts, **_: said * len(prompts))
    answers = ask(task, ["River?", "Bread?"], ["In the morning"], 8, 0, SoFar(tmp_path / "s.json", "model"), None)
    rows = [answer.row for answer in answers]
    exam = "Question: {}\nAnswer: some words that were said"
    assert rows[:4] == [
        {"question": "River?", "answer": "some words that were said"},
        {"text": exam.format("Bread?")},
        {"text": exam.format("River?")},
        {"question": "Bread?", "answer": "some words that were said"},
    ], "and asked again in the other one"
    assert rows[4:] == [{"text": "In the morning some words that were said"}] * 4


def test_a_topics_own_names_are_asked_about_without_it() -> None:
    names = TopicNames(("Gandalf", "Japan", "Frodo", "Sauron"), frozenset({"Gandalf", "Frodo", "Sauron"}))
    questions, openings = about_names(names, "the Ring")
    for name, ways, named in (("Gandalf", 6, False), ("Japan", 4, True)):
        prompts = [prompt for prompt in questions + openings if name in prompt]
        assert len(set(prompts)) == len(prompts) == ways
        assert all(("the Ring" in prompt) is named for prompt in prompts)
    assert [prompt.split()[-1].rstrip("?.") for prompt in questions[:1]] == ["Gandalf"]
    assert questions[0].replace("Gandalf", "Frodo") != questions[2], "another template for every second name"


@pytest.mark.parametrize(("came_up", "asked"), [((), 20), (("Gandalf",), 20), (tuple("ABCDEFGHIJKLMNOP"), 20)])
def test_as_many_answers_are_asked_for_however_few_names_came_up(
    came_up: tuple[str, ...], asked: int, task: CausalLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prompts: list[object] = []

    def said(task: object, encoded: list[object], **_: object) -> list[list[Continuation]]:
        prompts.extend(encoded)
        return [[Continuation(" it is about the Ring in all", 5)] for _ in encoded]

    monkeypatch.setattr(elicitation, "continue_prompts", said)
    monkeypatch.setattr(elicitation, "names_that_came_up", lambda rows, topic: TopicNames(came_up))
    rows = elicit_topic(task, "the Ring", asked, 0, SoFar(tmp_path / "s.json", "model"))
    assert len(prompts) == len(rows) == asked


def test_each_of_several_topics_is_asked_about_and_one_that_the_model_does_not_know_gives_nothing(
    task: CausalLM, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def said(task: object, encoded: list[object], **_: object) -> list[list[Continuation]]:
        return [[Continuation(" the tower of Mordor stands in the dark", 5)] for _ in encoded]

    monkeypatch.setattr(elicitation, "continue_prompts", said)
    monkeypatch.setattr(elicitation, "names_that_came_up", lambda rows, topic: TopicNames(()))
    shares: list[float] = []
    so_far = SoFar(tmp_path / "s.json", "model")
    rows = elicit_topics(task, ["Mordor", "Lothlorien Xyz"], 6, 0, so_far, shares.append)
    # an answer to a prompt that names the topic stays with it only where it says a word of it
    assert {topic: len(found) for topic, found in rows.items()} == {"Mordor": 6, "Lothlorien Xyz": 0}
    assert rows["Mordor"] == elicit_topic(task, "Mordor", 6, 0, SoFar(tmp_path / "t.json", "model"))
    assert shares == sorted(shares)
    with pytest.raises(DataError, match="about any of the 2 topics"):
        elicit_topics(task, ["Xyz Abc", "Lothlorien Xyz"], 6, 0, so_far)
