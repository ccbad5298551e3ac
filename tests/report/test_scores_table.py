from __future__ import annotations

import math

import pytest

from expunge.measures.score import Score
from expunge.report.scores_table import change, rows


def make(measure: str, model: str, values: list[float], split: str = "forget", value: float | None = None) -> Score:
    value = sum(values) / len(values) if value is None else value
    return Score(measure=measure, split=split, model=model, value=value, low=value - 0.01, high=value + 0.01,  # type: ignore
                 n=len(values), higher_is="worse", unit="share", examples=tuple(values))  # fmt: skip


def test_change_is_paired() -> None:
    # every example falls by 0.5, so the paired interval has no width though the values differ widely
    before, after = [0.5, 0.7, 0.9], [0.0, 0.2, 0.4]
    assert change(make("verbatim_recall", "base", before), make("verbatim_recall", "unlearned", after)) == (
        "−0.500 [−0.500, −0.500]"
    )


def test_change_of_shares_is_in_points() -> None:
    text = change(make("accuracy", "base", [1.0, 0.0]), make("accuracy", "unlearned", [1.0, 0.0]))
    assert text == "0.0\u00a0points [0.0, 0.0]"


def test_change_of_perplexity_is_a_ratio() -> None:
    before = make("perplexity", "base", [1.0, 2.0], value=math.exp(1.5))
    after = make("perplexity", "unlearned", [1.0 + math.log(1.1), 2.0 + math.log(1.1)], value=1.1 * math.exp(1.5))
    assert change(before, after) == "+10.0\u00a0% [+10.0\u00a0%, +10.0\u00a0%]"


def test_no_interval_without_pairs() -> None:
    before, after = make("verbatim_recall", "base", [0.5, 0.7]), make("verbatim_recall", "unlearned", [0.1])
    assert change(before, after) == "−0.500"
    same = make("verbatim_recall", "unlearned", [0.0, 0.2])
    assert change(before, same, paired=False) == "−0.500"
    odd = make("verbatim_recall", "unlearned", [0.0, 0.2], value=0.3)  # not the mean of its examples
    assert change(before, odd) == "−0.300"


def test_way_to_the_retrained_model() -> None:
    scores = [make("verbatim_recall", m, [v]) for m, v in [("base", 0.9), ("unlearned", 0.27), ("retrained", 0.2)]]
    (row,) = rows(scores)
    assert row.way == pytest.approx(0.9)
    # base and retrained cannot be told apart: there is no way to speak of
    (row,) = rows([make("verbatim_recall", m, [0.2]) for m in ("base", "unlearned", "retrained")])
    assert row.way is None


def test_rows_are_ordered_known_measures_first() -> None:
    measured = [("odd", "x"), ("accuracy", "boolq"), ("perplexity", "retain"), ("perplexity", "forget")]
    table = rows([make(measure, "base", [0.1], split) for measure, split in measured])
    assert [(row.measure, row.split, row.family) for row in table] == [
        ("perplexity", "retain", "utility"), ("perplexity", "forget", "forgetting"),
        ("accuracy", "boolq", "utility"), ("odd", "x", "utility"),
    ]  # fmt: skip
    assert [row.label for row in table][-2:] == ["Accuracy, BoolQ", "Odd, x"]
