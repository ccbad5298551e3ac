"""How thresholds are judged: each way, with figures worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.core.score import Score
from expunge.runs.check import (
    Case,
    Judge,
    Required,
    Threshold,
    change_at_most,
    loss_at_most,
    mean_of,
    ratio_at_least,
    ratio_at_most,
    reaches_chance,
    recorded_at_most,
    rise_at_most,
    way_to_oracle,
    worst_of,
)
from plain_score import plain_score as score


def case(limit: float, *values: tuple[str, float, float], oracle: float | None = None, **record: Any) -> Case:
    """Scores of the measure `m`: (split, before, after); `oracle`: of the retrained model on the first split."""
    scores: list[Score] = []
    for split, before, after in values:
        scores += [score("m", split, "base", before), score("m", split, "unlearned", after)]
    if oracle is not None:
        scores.append(score("m", values[0][0], "retrained", oracle))
    return Case("c", limit, {(each.measure, each.split, each.model): each for each in scores}, record)


ON_S = {"measure": "m", "split": "s", "explain": "{before} {after} {value:.2f} {points:.0f}"}


@pytest.mark.parametrize(
    ("judged", "limit", "pair", "value", "passed"),
    [
        (ratio_at_most(**ON_S), 0.5, (0.8, 0.4), 0.5, True),
        (ratio_at_most(**ON_S), 0.5, (0.8, 0.41), 0.5125, False),
        (ratio_at_least(**ON_S), 0.75, (8.0, 6.0), 0.75, True),
        (ratio_at_least(**ON_S), 0.9, (0.8, 0.7), 0.875, False),
        (change_at_most(**ON_S), 0.25, (8.0, 10.0), 0.25, True),
        (change_at_most(**ON_S), 0.25, (8.0, 5.0), 0.375, False),
        (rise_at_most(**ON_S), 0.125, (0.0, 0.125), 0.125, True),
        (rise_at_most(**ON_S), 0.125, (0.5, 0.75), 0.25, False),
        (rise_at_most(**ON_S), 0.125, (0.5, 0.0), -0.5, True),
        (loss_at_most(**ON_S), 0.125, (0.5, 0.25), 0.25, False),
        (loss_at_most(**ON_S), 0.125, (0.25, 0.5), -0.25, True),
        (reaches_chance("m", "s", 0.5), 0.0625, (0.75, 0.5625), 0.0625, True),
        (reaches_chance("m", "s", 0.5), 0.0625, (0.75, 0.25), 0.25, False),
    ],
)
def test_two_scores_are_compared(
    judged: Judge, limit: float, pair: tuple[float, float], value: float, passed: bool
) -> None:
    check = judged(case(limit, ("s", *pair)))
    assert check is not None
    assert (check.value, check.passed, check.threshold) == (pytest.approx(value), passed, limit)


@pytest.mark.parametrize("made", [ratio_at_most, ratio_at_least, change_at_most, rise_at_most, loss_at_most])
def test_what_is_missing_fails_where_that_is_said(made: Any) -> None:
    assert made(**ON_S)(case(0.5)) is None
    check = made(**ON_S, missing="not measured")(case(0.5))
    assert (check.value, check.passed, check.explain) == (None, False, "not measured")


def test_a_score_that_is_no_number_fails() -> None:
    for made in (ratio_at_most, ratio_at_least, change_at_most, rise_at_most):
        check = made(**ON_S)(case(0.5, ("s", 0.5, float("nan"))))
        assert check is not None
        assert not check.passed


def test_what_was_not_there_before_cannot_be_seen_to_fall() -> None:
    assert ratio_at_most(**ON_S)(case(0.5, ("s", 0.0, 0.4))) is None
    check = ratio_at_most(**ON_S, unseen="only {before:.1%}", too_little=lambda base: base.value < 0.25)(
        case(0.5, ("s", 0.125, 0.0))
    )
    assert check is not None
    assert (check.passed, check.explain) == (False, "only 12.5%")


def test_the_retrained_model_is_the_reference_where_there_is_one() -> None:
    judged = ratio_at_least(measure="m", split="s", explain="{before} {reference}", to_reference=True)
    alone, beside = judged(case(0.9, ("s", 0.8, 0.4))), judged(case(0.9, ("s", 0.8, 0.4), oracle=0.4))
    assert alone is not None
    assert beside is not None
    assert (alone.value, alone.passed, alone.explain) == (0.5, False, "0.8 before")
    assert (beside.value, beside.passed, beside.explain) == (1.0, True, "0.4 in the retrained model")


THREE = (("g/a", 0.8, 0.2), ("g/b", 0.8, 0.6), ("other", 0.8, 0.8))


def test_the_worst_of_several_splits_counts() -> None:
    one = ratio_at_most(measure="m", explain="{split}{where}", where={"g/b": ", there"})
    check = worst_of("g/", one)(case(0.5, *THREE))
    assert check is not None
    assert (check.value, check.passed, check.explain) == (pytest.approx(0.75), False, "b, there")
    check = worst_of(("g/a", "other"), ratio_at_least(measure="m", explain="{split}"))(case(0.5, *THREE))
    assert check is not None
    assert (check.value, check.explain) == (pytest.approx(0.25), "a")
    assert worst_of("x/", one)(case(0.5, *THREE)) is None
    told = worst_of("g/", one, missing="none", unseen="too low")
    for scores, explain in (((), "none"), ((("g/a", 0.0, 0.0),), "too low")):
        check = told(case(0.5, *scores))
        assert check is not None
        assert (check.passed, check.explain) == (False, explain)


def test_the_mean_is_over_splits() -> None:
    judged = mean_of("", loss_at_most(measure="m", explain=""), "{points:+.1f} over {n}")
    check = judged(case(0.3, *THREE))
    assert check is not None
    assert (check.value, check.passed, check.explain) == (pytest.approx((0.6 + 0.2 + 0) / 3), True, "+26.7 over 3")
    assert judged(case(0.3)) is None


@pytest.mark.parametrize(("after", "oracle", "value"), [(0.5, 0.2, 0.5), (0.2, 0.2, 1.0), (0.9, 0.2, -1 / 6)])
def test_the_way_to_the_retrained_model(after: float, oracle: float, value: float) -> None:
    told = {"apart": 0.05, "same": "as much", "too_little": lambda base: base.value < 0.35}
    judged = way_to_oracle("m", "s", "{oracle}", **told)
    check = judged(case(0.5, ("s", 0.8, after), oracle=oracle))
    assert check is not None
    assert (check.value, check.passed) == (pytest.approx(value), value >= 0.5)
    assert judged(case(0.5, ("s", 0.8, after))) is None
    assert judged(case(0.5, ("s", 0.3, after), oracle=oracle)) is None
    same = judged(case(0.5, ("s", 0.8, after), oracle=0.76))
    assert same is not None
    assert (same.value, same.passed, same.explain) == (None, False, "as much")


def test_a_figure_of_the_record() -> None:
    judged = recorded_at_most("cost", "share", "{value:.0%}")
    check = judged(case(0.5, cost={"share": 0.25}))
    assert check is not None
    assert (check.value, check.passed, check.explain) == (0.25, True, "25%")
    assert judged(case(0.5, cost={"share": None})) is None


def test_something_of_a_kind_must_have_been_checked() -> None:
    required = Required("c", frozenset({"a", "b"}), "not measured")
    nothing = required.judged(case(0.5))
    assert nothing is not None
    assert (nothing.name, nothing.passed) == ("c", False)
    made = ratio_at_most(**ON_S)(Case("a", 0.5, case(0.5, ("s", 0.8, 0.4)).scores))
    assert made is not None
    assert required.judged(Case("c", 0.5, {}, made=[made])) is None


def test_words_are_those_of_the_field_and_of_the_report() -> None:
    def threshold(words: str) -> Threshold:
        return Threshold("c", "C", words, ratio_at_most(**ON_S), unit="points")

    assert threshold("at least: what is left (of much) (0.1 by default)").sentence == "What is left (of much)."
    assert (threshold("at least: what is left").bound, threshold("at most: PSNR lost").bound) == ("at least", "at most")
    assert threshold("at most: PSNR lost").sentence == "PSNR lost."
    with pytest.raises(ValueError, match="at most"):
        threshold("What is left.")
