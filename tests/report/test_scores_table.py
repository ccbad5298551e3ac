from __future__ import annotations

import math

import pytest

from expunge.core.score import Score
from expunge.report.scores_table import change, rows, worst


def make(measure: str, model: str, values: list[float], split: str = "forget", value: float | None = None) -> Score:
    value = sum(values) / len(values) if value is None else value
    return Score(measure=measure, split=split, model=model, value=value, low=value - 0.01, high=value + 0.01,  # type: ignore
                 n=len(values), higher_is="worse", unit="share", examples=tuple(values))  # fmt: skip


def test_change_is_paired() -> None:
    # every example falls by about 0.5, so the paired interval is narrow though the values differ widely
    before, after = [0.5, 0.7, 0.9] * 20, [0.01, 0.19, 0.4] * 20
    assert change(make("verbatim_recall", "base", before), make("verbatim_recall", "unlearned", after)) == (
        "−0.500 [−0.502, −0.498]"
    )


def test_equal_answers_do_not_show_that_models_are_equal() -> None:
    text = change(make("general_knowledge", "base", [1.0] * 60), make("general_knowledge", "unlearned", [1.0] * 60))
    assert text == "0.0\u00a0points [−4.5, +4.5]"


def test_two_equal_falls_do_not_show_that_all_are() -> None:
    text = change(make("verbatim_recall", "base", [0.5] * 40), make("verbatim_recall", "unlearned", [0.0] * 40))
    assert text == "−0.500 [−0.551, −0.449]"


def test_change_of_shares_is_in_points() -> None:
    text = change(make("accuracy", "base", [1.0, 0.0]), make("accuracy", "unlearned", [1.0, 0.0]))
    assert text == "0.0\u00a0points [−69.3, +69.3]"


def test_change_of_perplexity_is_a_ratio() -> None:
    before = make("perplexity", "base", [1.0, 2.0], value=math.exp(1.5))
    after = make("perplexity", "unlearned", [1.0 + math.log(1.1), 2.0 + math.log(1.1)], value=1.1 * math.exp(1.5))
    assert change(before, after) == "+10.0\u00a0%"  # equal ratios say nothing about their spread
    before = make("perplexity", "base", [1.0, 2.0] * 20, value=math.exp(1.5))
    logs = [1.0 + math.log(1.1), 2.0 + math.log(1.2)] * 20
    after = make("perplexity", "unlearned", logs, value=math.exp(sum(logs) / 40))
    assert change(before, after).startswith("+14.9\u00a0% [+13.")
    # two blocks of a model that was destroyed: the upper limit is beyond all numbers, and said as the largest there is
    before, after = make("perplexity", "base", [1.0, 2.0], value=4.5), make("perplexity", "unlearned", [90.0, 590.0])
    assert "e+" in change(before, after)


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


def test_what_suffered_most_is_found() -> None:
    def pair(measure: str, split: str, before: float, after: float, higher_is: str) -> list[Score]:
        return [
            Score(measure=measure, split=split, model=model, value=value, low=value, high=value, n=9,  # type: ignore
                  higher_is=higher_is, unit="share")  # type: ignore
            for model, value in (("base", before), ("unlearned", after))
        ]  # fmt: skip

    forgotten = pair("familiarity_completion", "forget", 0.3, 0.9, "worse")
    general = pair("general_knowledge", "general", 0.83, 0.78, "better")
    perplexity = pair("perplexity", "ordinary", 20.0, 20.5, "worse")
    found = worst(rows([*forgotten, *perplexity, *general]))
    assert found is not None
    assert found.measure == "general_knowledge"
    assert found.text("base") == ("83.0\u00a0%", "")
    found = worst(rows([*perplexity, *pair("general_knowledge", "general", 0.8, 0.9, "better")]))
    assert found is not None
    assert found.measure == "perplexity"
    assert worst(rows(forgotten)) is None
    assert worst(rows(pair("perplexity", "ordinary", 20.5, 20.0, "worse"))) is None


def test_rows_are_ordered_known_measures_first() -> None:
    measured = [("odd", "x"), ("accuracy", "boolq"), ("perplexity", "retain"), ("perplexity", "forget")]
    table = rows([make(measure, "base", [0.1], split) for measure, split in measured])
    assert [(row.measure, row.split, row.family) for row in table] == [
        ("perplexity", "retain", "utility"), ("perplexity", "forget", "forgetting"),
        ("accuracy", "boolq", "utility"), ("odd", "x", "utility"),
    ]  # fmt: skip
    assert [row.label for row in table][-2:] == ["Accuracy, BoolQ", "Odd, x"]
