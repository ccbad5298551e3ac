"""The control's topics: other things of the same kind, never the target itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.kinds.language.elicitation.controls import (
    CONTROL_TOKENS,
    control_bank,
    control_topics,
    elicit_controls,
    kind_of,
    names_any,
    names_topic,
)
from expunge.kinds.language.elicitation.sampling_cache import SoFar
from expunge.kinds.language.sampling import Continuation
from tiny import load_task


def test_the_bank_holds_kinds_of_different_topics() -> None:
    bank = control_bank()
    every = [topic for topics in bank.values() for topic in topics]
    assert len(bank) >= 5
    assert len(set(every)) == len(every)
    assert all(len(topics) >= 6 for topics in bank.values())


@pytest.mark.parametrize(
    ("topic", "kind", "gone"),
    [
        ("Harry Potter", "a work of fiction", "Harry Potter"),
        ("harry potter and the goblet of fire", "a work of fiction", "Harry Potter"),
        ("Solar System", "a subject of science", "the solar system"),
        ("World War II", "a historical event", "World War II"),
    ],
)
def test_controls_are_of_the_same_kind_and_others_but_never_the_topic(topic: str, kind: str, gone: str) -> None:
    found = control_topics(topic, kind)
    assert set(found) >= set(control_bank()[kind]) - {gone}
    assert gone not in found
    kinds = [name for name, topics in control_bank().items() if set(topics) & set(found)]
    assert kinds == list(control_bank())


def test_a_text_names_a_topic_as_whole_words_in_any_case() -> None:
    assert names_topic("After world war II it was over.", "World War II")
    assert names_any("After world war II it was over.", ["Harry Potter", "World War II"])
    assert not names_any("It was over.", ["Harry Potter", "World War II"])
    assert not names_topic("After World War III it was over.", "World War II")
    assert names_topic("The bible says", "the Bible")


def test_answers_are_over_all_topics_and_templates(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = load_task(tiny_model_folder)
    lengths = []

    def said(_task: object, prompts: list[list[int]], max_new_tokens: int, **_: object) -> list[list[Continuation]]:
        lengths.append(max_new_tokens)
        return [[Continuation(" some words that were said", 5)] for _ in prompts]

    monkeypatch.setattr("expunge.kinds.language.elicitation.asking.continue_prompts", said)
    topics = ["Robin Hood", "jazz", "Paris"]
    rows = elicit_controls(task, topics, 12, 0, SoFar(tmp_path / "so-far.json", {}))
    asked = [row.get("question") or row["text"] for row in rows]
    assert len(asked) == len(set(asked)) == 12
    assert sum("question" in row or row["text"].startswith("Question: ") for row in rows) == 6
    assert sum("question" in row for row in rows) == 3
    assert all(sum(topic in text for text in asked) == 4 for topic in topics)
    assert set(lengths) == {CONTROL_TOKENS}


def test_the_kind_is_the_phrase_that_the_topic_makes_likelier(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its gain a token over "It is", not by what is likely anyway."""
    task = load_task(tiny_model_folder)
    kinds = list(control_bank())
    count = {kind: len(task.tokenizer(f" {kind}", add_special_tokens=False)["input_ids"]) for kind in kinds}
    neutral = tuple(-1.0 if kind == "a person" else -40.0 for kind in kinds)
    named = tuple(
        n + (0.9 * count[k] if k == "a religion" else 0.5 * count[k]) for n, k in zip(neutral, kinds, strict=True)
    )
    monkeypatch.setattr("expunge.kinds.language.elicitation.controls.choices_by", lambda *_: [named, neutral])
    assert kind_of(task, "the Bible") == "a religion"
