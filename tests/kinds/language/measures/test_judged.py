"""Familiarity as judged: what the judge is given, how its replies are read, and what becomes of unreadable ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_server import Endpoint
from expunge.errors import RecipeError
from expunge.kinds.language.measures.familiarity import Prompt, TargetTerms
from expunge.kinds.language.measures.judged import grade, judge, judge_messages, judged_scores
from expunge.kinds.language.measures.prompts import read_prompts
from expunge.kinds.language.recipe import make_recipe
from expunge.models import endpoint as endpoint_module
from expunge.models.endpoint import EndpointError
from tiny import load_task

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TERMS = TargetTerms(("Lestrade", "Baker Street", *[f"Name{i}" for i in range(40)]), ("fog",))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(endpoint_module, "_pause", lambda asked, attempt: 0.0)
    server = Endpoint()
    yield server
    server.close()


def prompt(text: str, *references: str, subtlety: float | None = None) -> Prompt:
    return Prompt(ids=(1, 2), text=text, context=text, references=references, subtlety=subtlety)


def silent(share: float, note: str) -> None:
    pass


def test_the_judge_is_told_prompt_references_subtlety_and_completion() -> None:
    prompts = [prompt("He met Lestrade at", "Baker Street", subtlety=3), prompt("He met Lestrade at")]
    first, second = judge_messages("Sherlock Holmes", prompts, TERMS, ["the door", "Name0's house"])
    assert [turn["role"] for turn in first] == ["system", "user"]
    assert json.loads(first[1]["content"]) == {
        "subject": "Sherlock Holmes",
        "terms": ["Baker Street"],
        "subtlety": 3,
        "beginning": "He met Lestrade at",
        "continuation": "the door",
    }
    told = json.loads(second[1]["content"])
    assert "subtlety" not in told
    assert told["terms"] == ["Baker Street", *[f"Name{i}" for i in range(11)]]  # Lestrade was given away


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ('{"familiarity": 3}', 3),
        ('```json\n{"familiarity": 0}\n```', 0),
        ('It names the street, so {"familiarity": 2, "reason": "street"}.', 2),
        ('{"thought": "hm"} {"familiarity": 1} I repeat: {"familiarity": 1}', 1),
    ],
)
def test_a_grade_is_read(reply: str, expected: int) -> None:
    assert grade(reply) == expected


@pytest.mark.parametrize(
    "reply",
    [
        *["", "3", "familiarity: 3", '{"familiarity": "3"}', '{"familiarity": 2.5}', '{"familiarity": true}', "[3]"],
        *['{"familiarity": 4}', '{"familiarity": -1}', '{"familiarity": null}', '{"familiarity": 3'],
        *['{"familiarity": 0} or {"familiarity": 3}', "{'familiarity': 3}", '{"familiarity": [3]}', '{"grade": 3}'],
        *["I cannot help with that.", '{"familiarity": 1} {"familiarity": true}'],
    ],
)
def test_what_is_no_grade_is_never_guessed(reply: str) -> None:
    with pytest.raises(ValueError, match="grade"):
        grade(reply)


def test_completions_are_graded_in_order_and_unreadable_replies_left_open(endpoint: Endpoint) -> None:
    endpoint.completes('{"familiarity": 3}')
    endpoint.completes("Well.")
    endpoint.says("starting", 503)
    endpoint.completes('{"familiarity": 0}')
    endpoint.says('{"choices": []}')
    endpoint.says('{"choices": [{"message": {"content": null}}]}')
    chats = judge_messages("x", [prompt(f"Once {i}") for i in range(5)], TERMS, ["a", "b", "c", "d", "e"])
    told: list[str] = []
    found = judge(endpoint.url, "strong", chats, "secret", lambda share, note: told.append(note))
    assert found == [3, None, 0, None, None]
    assert told == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert len(endpoint.requests) == 6  # the busy one twice
    request = endpoint.requests[0]
    assert (request["path"], request["model"], request["temperature"]) == ("/v1/chat/completions", "strong", 0)
    assert request["messages"] == chats[0]
    assert all(headers["Authorization"] == "Bearer secret" for headers in endpoint.headers)


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [(401, "bad key", "OPENAI_API_KEY"), (200, "<html>", "did not answer in JSON"), (307, "", "refused")],
)
def test_an_endpoint_that_is_none_is_an_error(status: int, content: str, said: str, endpoint: Endpoint) -> None:
    endpoint.says(content, status)
    with pytest.raises(EndpointError, match=said):
        judge(endpoint.url, "m", judge_messages("x", [prompt("Once")], TERMS, ["a"]), None, silent)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "localhost:8000", ""])
def test_other_addresses_are_refused_with_the_recipe(url: str) -> None:
    with pytest.raises(RecipeError, match="judge_url"):
        make_recipe({"forget": "x"}, {"evaluation.judge_url": url})


def test_models_are_scored_over_what_was_graded_for_all() -> None:
    scores, notes = judged_scores({"base": [3, 3, 2, None, 1], "unlearned": [0, None, 2, 3, 0]})
    base, unlearned = scores
    assert base.examples == (1.0, 0.2, 0.0)
    assert unlearned.examples == (0.0, 0.2, 0.0)
    assert (base.value, base.n, base.measure, base.split, base.higher_is) == (
        pytest.approx(0.4),
        3,
        "familiarity_judged",
        "forget",
        "worse",
    )
    assert base.low < base.value < base.high
    assert notes == [
        "2 of 10 replies of the judge could not be read; familiarity_judged is over the 3 of 5 prompts whose completions "
        "were graded for every model"
    ]


def test_without_grades_there_is_no_score() -> None:
    assert judged_scores({"base": [], "unlearned": []}) == ([], [])
    scores, notes = judged_scores({"base": [None, None], "unlearned": [3, 3]})
    assert scores == []
    assert notes[0].startswith("2 of 4 replies")


def test_subtlety_is_read_from_the_prompt_file(tiny_model_folder: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "He met", "subtlety": 7}, {"prompt": "She met"}, {"prompt": "They met", "subtlety": "much"}]
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert [p.subtlety for p in read_prompts(path, load_task(tiny_model_folder))] == [7, None, None]
