"""Forgetting against damage: what is left, what suffered, and who is on the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_run import make_run

from expunge.core.score import Score
from expunge.report.compare import compare_runs
from expunge.report.front import Point, on_front, point


def score(measure: str, split: str, model: Any, value: float, higher_is: Any) -> Score:
    return Score(
        measure=measure, split=split, model=model, value=value, low=value, high=value, n=1, higher_is=higher_is, unit=""
    )


def pair(measure: str, split: str, before: float, after: float, higher_is: str) -> list[Score]:
    return [score(measure, split, "base", before, higher_is), score(measure, split, "unlearned", after, higher_is)]


def test_what_is_left_is_counted_beyond_the_control_by_the_measure_that_fell_least() -> None:
    scores = [
        *pair("familiarity_completion", "forget", 0.5, 0.2, "worse"),
        score("familiarity_completion", "control", "base", 0.1, "worse"),
        *pair("verbatim_recall", "forget", 0.8, 0.4, "worse"),
        *pair("perplexity", "forget", 3.0, 4.0, "better"),  # counts where nothing else does
        *pair("perplexity", "retain", 10.0, 10.5, "worse"),
        *pair("general_knowledge", "general", 0.8, 0.6, "better"),
    ]
    found = point(scores)
    assert found is not None
    assert found.left == pytest.approx(0.5)  # 0.4 of 0.8, and (0.2 - 0.1) of (0.5 - 0.1) is a quarter
    assert found.left_by.startswith("Verbatim recall")
    assert found.damage == pytest.approx(0.25)  # a quarter of 0.8, against 5 % of 10
    assert found.damage_by.startswith("General knowledge")


def test_what_got_better_is_no_damage_and_what_was_not_known_cannot_be_left() -> None:
    better = pair("general_knowledge", "general", 0.5, 0.6, "better")
    found = point([*pair("verbatim_recall", "forget", 0.8, 0.0, "worse"), *better])
    assert found is not None
    assert (found.left, found.damage) == (0.0, 0.0)
    assert point([*pair("verbatim_recall", "forget", 0.0, 0.0, "worse"), *better]) is None
    assert point(pair("verbatim_recall", "forget", 0.8, 0.1, "worse")) is None


def test_where_only_perplexity_is_known_the_probability_of_a_token_is_what_is_left() -> None:
    kept = pair("general_knowledge", "general", 0.5, 0.5, "better")
    found = point([*pair("perplexity", "forget", 20.0, 80.0, "better"), *kept])
    assert found is not None
    assert found.left == pytest.approx(0.25)  # a token in 20 before, in 80 after
    assert found.left_by.startswith("Perplexity")
    unknown = pair("verbatim_recall", "forget", 0.0, 0.0, "worse")
    assert point([*unknown, *pair("perplexity", "forget", 20.0, 80.0, "better"), *kept]) == found
    assert point([*pair("perplexity", "retain", 20.0, 80.0, "worse"), *kept]) is None


def test_the_front_is_who_is_beaten_by_nobody() -> None:
    at = lambda left, damage: Point(left, "", damage, "")  # noqa: E731
    points = {
        "a": at(0.5, 0.0),
        "b": at(0.2, 0.1),
        "worse than b": at(0.3, 0.2),
        "c": at(0.0, 0.4),
        "as c": at(0.0, 0.5),
    }
    assert on_front(points) == ["a", "b", "c"]


def test_the_page_shows_it(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / "one"), make_run(tmp_path / "<two>")]
    compare_runs(runs, tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert "Forgetting against damage" in page
    assert "&lt;two&gt;" in page
    assert "<two>" not in page
