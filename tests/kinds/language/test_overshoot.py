"""Forgetting that goes further than never having known is reported."""

from __future__ import annotations

import pytest

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.judging import overshoot
from plain_score import plain_score


def perplexity(split: str, model: Which, value: float) -> Score:
    return plain_score("perplexity", split, model, value)


@pytest.mark.parametrize(("value", "told"), [(1053.0, True), (335.0, True), (333.0, False), (20.0, False)])
def test_the_retrained_model_is_the_measure_where_there_is_one(value: float, told: bool) -> None:
    scores = [
        perplexity("forget", "unlearned", value),
        perplexity("forget", "retrained", 167.0),
        perplexity("ordinary", "unlearned", 1.0),
    ]
    said = overshoot(scores)
    assert (said is not None) == told
    if said is not None:
        assert f"its perplexity is {value:,.0f}, and 167 in the retrained model" in said


def test_without_one_it_is_ordinary_text() -> None:
    ordinary = perplexity("ordinary", "unlearned", 40.0)
    assert overshoot([perplexity("forget", "unlearned", 799.0), ordinary]) is None
    said = overshoot([perplexity("forget", "unlearned", 1e6), ordinary])
    assert said is not None
    assert "its perplexity is 1,000,000, and 40 of ordinary text in the same model" in said


def test_what_was_not_measured_is_not_told_of() -> None:
    assert overshoot([]) is None
    assert overshoot([perplexity("forget", "unlearned", 1e6)]) is None
    assert overshoot([perplexity("forget", "base", 1e6), perplexity("ordinary", "unlearned", 1.0)]) is None
