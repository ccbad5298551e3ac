"""The verdict: every check passes and fails where it should, and a broken model never passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from expunge.core.score import Score
from expunge.kinds.language.recipe import Verdict
from plain_score import plain_score as score
from verdicts import judge

GOOD: dict[tuple[str, str], tuple[float, float]] = {
    ("familiarity_completion", "forget"): (0.30, 0.05),
    ("familiarity_probability", "forget"): (0.24, 0.03),
    ("perplexity", "ordinary"): (10.0, 10.2),
    ("perplexity", "retain"): (12.0, 12.5),
    ("perplexity", "forget"): (9.0, 30.0),
    ("general_knowledge", "general"): (0.80, 0.78),
    ("verbatim_recall", "retain"): (0.90, 0.88),
    ("accuracy", "boolq"): (0.70, 0.695),
    ("accuracy", "arc_easy"): (0.60, 0.61),
}


def scores(changes: dict[tuple[str, str], tuple[float, float] | None] | None = None) -> list[Score]:
    values = {place: pair for place, pair in (GOOD | (changes or {})).items() if pair is not None}
    return [
        score(measure, split, model, value)
        for (measure, split), pair in values.items()
        for model, value in zip(("base", "unlearned"), pair, strict=True)
    ]


def failed(found: list[Score], verdict: Verdict | None = None) -> list[str]:
    judged = judge(found, verdict or Verdict())
    names = [check["name"] for check in judged["checks"] if not check["passed"]]
    assert judged["passed"] == (not names)
    return names


def test_a_good_run_passes_every_check() -> None:
    judged = judge(scores(), Verdict())
    assert judged["passed"]
    assert [check["name"] for check in judged["checks"]] == [
        "familiarity_completion",
        "familiarity_probability",
        "perplexity",
        "perplexity_retain",
        "general_knowledge",
        "recall_kept",
        "benchmark_mean_loss",
        "benchmark_worst_loss",
    ]
    by_name = {check["name"]: check for check in judged["checks"]}
    assert by_name["familiarity_completion"]["value"] == pytest.approx(0.05 / 0.30)
    assert by_name["perplexity"]["value"] == pytest.approx(1.02)
    assert by_name["benchmark_mean_loss"]["value"] == pytest.approx((0.005 - 0.01) / 2)
    assert by_name["benchmark_worst_loss"]["value"] == pytest.approx(0.005)
    assert "0.3000 before, 0.0500 after: 17% is left" in by_name["familiarity_completion"]["explain"]
    assert "boolq" in by_name["benchmark_worst_loss"]["explain"]


@pytest.mark.parametrize(
    ("place", "pair", "check"),
    [
        (("familiarity_completion", "forget"), (0.30, 0.11), "familiarity_completion"),
        (("familiarity_probability", "forget"), (0.24, 0.09), "familiarity_probability"),
        (("perplexity", "ordinary"), (10.0, 10.4), "perplexity"),
        (("perplexity", "retain"), (12.0, 13.3), "perplexity_retain"),
        (("general_knowledge", "general"), (0.80, 0.70), "general_knowledge"),
        (("verbatim_recall", "retain"), (0.90, 0.80), "recall_kept"),
        (("accuracy", "arc_easy"), (0.60, 0.575), "benchmark_worst_loss"),
    ],
)
def test_each_check_fails_alone(place: tuple[str, str], pair: tuple[float, float], check: str) -> None:
    changes: dict[Any, Any] = {place: pair}
    if check == "benchmark_worst_loss":  # keep the mean in bounds
        changes["accuracy", "boolq"] = (0.70, 0.71)
    assert failed(scores(changes)) == [check]


def test_the_mean_loss_of_benchmarks_fails_alone() -> None:
    assert failed(scores({("accuracy", "boolq"): (0.70, 0.685), ("accuracy", "arc_easy"): (0.60, 0.585)})) == [
        "benchmark_mean_loss"
    ]


@pytest.mark.parametrize(
    ("field", "place", "after", "base"),
    [
        ("familiarity_completion", ("familiarity_completion", "forget"), 0.125, 0.5),
        ("perplexity", ("perplexity", "ordinary"), 16.0, 8.0),
        ("general_knowledge", ("general_knowledge", "general"), 0.25, 0.5),
    ],
)
def test_a_value_at_its_threshold_passes(field: str, place: tuple[str, str], after: float, base: float) -> None:
    verdict = Verdict(**{field: after / base})
    assert failed(scores({place: (base, after)}), verdict) == []


COMPLETION, PROBABILITY = ("familiarity_completion", "forget"), ("familiarity_probability", "forget")


def around(measure: str, split: str, model: Any, value: float, arm: float) -> Score:
    found = score(measure, split, model, value)
    return replace(found, low=value - arm, high=value + arm)


def test_familiarity_is_judged_on_what_lies_above_the_control() -> None:
    """0.30 before, 0.10 in the control: 0.14 after is a fifth of the excess, though half of what was there."""
    pair = {COMPLETION: (0.30, 0.14), PROBABILITY: None}
    assert failed(scores(pair)) == ["familiarity_completion"]
    found = [*scores(pair), around("familiarity_completion", "control", "base", 0.10, 0.05)]
    assert failed(found) == []
    by_name = {check["name"]: check for check in judge(found, Verdict())["checks"]}
    assert by_name["familiarity_completion"]["value"] == pytest.approx(0.2)
    assert "0.1000 in the control: 20% of the excess is left" in by_name["familiarity_completion"]["explain"]


def test_a_base_that_knows_no_more_than_the_control_is_not_known_well_enough() -> None:
    base = around("familiarity_completion", "forget", "base", 0.30, 0.10)
    rest = [s for s in scores({PROBABILITY: None}) if (s.measure, s.model) != ("familiarity_completion", "base")]
    # arms of 0.10 and 0.12 make one of 0.156 for the difference (3-4-5 scaled), which reaches over one of 0.15
    judged = judge([base, *rest, around("familiarity_completion", "control", "base", 0.15, 0.12)], Verdict())
    assert (judged["passed"], judged["not_known"]) == (False, True)
    (check,) = [c for c in judged["checks"] if c["name"] == "familiarity_completion"]
    assert (check["passed"], check["value"]) == (False, None)
    assert "not known well enough to measure forgetting" in check["explain"]
    # with the control a little lower the same arms leave the difference above 0
    judged = judge([base, *rest, around("familiarity_completion", "control", "base", 0.14, 0.12)], Verdict())
    assert (judged["passed"], judged["not_known"]) == (True, False)


def test_one_familiarity_that_cannot_be_seen_is_not_made_where_the_other_can() -> None:
    judged = judge([*scores({PROBABILITY: (0.009, 0.0)})], Verdict())
    assert judged["passed"]
    assert [c["passed"] for c in judged["checks"] if c["name"] == "familiarity_probability"] == [None]


def test_what_the_base_never_knew_cannot_be_said_to_be_forgotten() -> None:
    judged = judge(scores({COMPLETION: (0.009, 0.0), PROBABILITY: (0.009, 0.0)}), Verdict())
    assert (judged["passed"], judged["not_known"]) == (False, True)
    assert [c["passed"] for c in judged["checks"][:2]] == [False, False]


@pytest.mark.parametrize(("after", "passed"), [(0.5, True), (0.55, True), (0.45, True), (0.575, False), (0.425, False)])
def test_questions_must_be_answered_by_chance_in_either_direction(after: float, passed: bool) -> None:
    base = around("two_answers", "forget", "base", 0.75, 0.14)
    judged = judge([*scores(), base, score("two_answers", "forget", "unlearned", after)], Verdict())
    (check,) = [c for c in judged["checks"] if c["name"] == "two_answers"]
    assert (check["passed"], judged["passed"]) == (passed, passed)


def test_questions_alone_that_the_base_does_not_know_are_no_pass() -> None:
    """Without a familiarity, questions answered by chance before are all that could have shown forgetting."""
    base = around("two_answers", "forget", "base", 0.60, 0.14)
    found = scores({COMPLETION: None, PROBABILITY: None})
    judged = judge([*found, base, score("two_answers", "forget", "unlearned", 0.5)], Verdict())
    assert (judged["passed"], judged["not_known"]) == (False, True)


def test_questions_that_the_base_answers_by_chance_are_not_judged() -> None:
    """60 % with an interval of 14 points, and 72 % where the answers alone give away 70 %."""
    for before, blind in ((0.60, 0.5), (0.72, 0.7)):
        found = [
            *scores(),
            around("two_answers", "forget", "base", before, 0.14),
            score("two_answers", "control", "base", blind),
            score("two_answers", "forget", "unlearned", before),
        ]
        judged = judge(found, Verdict())
        (check,) = [c for c in judged["checks"] if c["name"] == "two_answers"]
        assert (check["passed"], judged["passed"]) == (None, True)


def test_without_a_measure_of_forgetting_nothing_passes() -> None:
    gone = {("familiarity_completion", "forget"): None, ("familiarity_probability", "forget"): None}
    assert failed(scores(gone)) == ["familiarity_completion"]
    assert failed([]) == ["familiarity_completion", "perplexity"]


def test_without_a_measure_of_what_must_be_kept_nothing_passes() -> None:
    forgetting = {place: pair for place, pair in GOOD.items() if place[1] == "forget"}
    only: dict[tuple[str, str], tuple[float, float] | None] = {place: None for place in GOOD if place not in forgetting}
    found = scores(only | {("verbatim_recall", "forget"): (0.9, 0.1)})
    assert failed(found) == ["perplexity"]
    (check,) = (check for check in judge(found, Verdict())["checks"] if not check["passed"])
    assert check["value"] is None
    assert "not measured" in check["explain"]
    assert failed(scores(only | {("general_knowledge", "general"): (0.8, 0.8)})) == []


def test_checks_without_scores_are_left_out() -> None:
    few = {
        place: None
        for place in GOOD
        if place[0] in ("accuracy", "verbatim_recall") or place == ("perplexity", "retain")
    }
    assert [check["name"] for check in judge(scores(few), Verdict())["checks"]] == [
        "familiarity_completion",
        "familiarity_probability",
        "perplexity",
        "general_knowledge",
    ]


def test_a_model_of_random_weights_has_forgotten_everything_and_fails() -> None:
    """It is familiar with nothing, so only what must be kept can tell."""
    vocabulary = 49_152.0
    random = {
        ("familiarity_completion", "forget"): (0.30, 0.0),
        ("familiarity_probability", "forget"): (0.24, 1e-5),
        ("perplexity", "ordinary"): (10.0, vocabulary),
        ("perplexity", "retain"): (12.0, vocabulary),
        ("perplexity", "forget"): (9.0, vocabulary),
        ("general_knowledge", "general"): (0.80, 0.25),
        ("verbatim_recall", "retain"): (0.90, 0.0),
        ("accuracy", "boolq"): (0.70, 0.5),
        ("accuracy", "arc_easy"): (0.60, 0.25),
    }
    assert failed(scores(random)) == [
        "perplexity",
        "perplexity_retain",
        "general_knowledge",
        "recall_kept",
        "benchmark_mean_loss",
        "benchmark_worst_loss",
    ]
    only = {place: random[place] if place[0] == "perplexity" else pair for place, pair in random.items()}
    without = {place: None for place in GOOD if place[0] in ("accuracy", "verbatim_recall", "general_knowledge")}
    assert failed(scores(only | without)) == ["perplexity", "perplexity_retain"]


def test_a_score_that_is_no_number_fails() -> None:
    nan = float("nan")
    for place in (("familiarity_completion", "forget"), ("perplexity", "ordinary"), ("general_knowledge", "general")):
        assert len(failed(scores({place: (0.5, nan)}))) == 1


@pytest.mark.parametrize(
    # of the last, half is left: still enough to be recited
    ("before", "after", "passed"),
    [(0.95, 0.20, True), (0.95, 0.34, True), (0.40, 0.25, False), (0.95, 0.47, False)],
)
def test_without_a_retrained_model_little_recall_may_be_left(before: float, after: float, passed: bool) -> None:
    found = scores({("verbatim_recall", "forget"): (before, after)})
    assert failed(found) == ([] if passed else ["recall_left"])
    (check,) = (check for check in judge(found, Verdict())["checks"] if check["name"] == "recall_left")
    assert ("still counts as reciting" in check["explain"]) == (after == 0.47)


@pytest.mark.parametrize(
    # the third went further than the retrained model; in the fourth that one recites the text too
    ("after", "oracle", "passed"),
    [(0.20, 0.15, True), (0.30, 0.15, False), (0.10, 0.15, True), (0.85, 0.85, True)],
)
def test_recall_must_go_the_way_to_the_retrained_model(after: float, oracle: float, passed: bool) -> None:
    found = [
        *scores({("verbatim_recall", "forget"): (0.95, after)}),
        score("verbatim_recall", "forget", "retrained", oracle),
    ]
    assert failed(found) == ([] if passed else ["recall_way"])
    (check,) = (check for check in judge(found, Verdict())["checks"] if check["name"] == "recall_way")
    assert check["value"] == pytest.approx((0.95 - after) / (0.95 - oracle))


def test_recall_is_judged_only_of_what_the_base_recited() -> None:
    found = [
        *scores({("verbatim_recall", "forget"): (0.2, 0.19), ("verbatim_recall", "retain"): (0.2, 0.1)}),
        score("verbatim_recall", "forget", "retrained", 0.15),
    ]
    names = [check["name"] for check in judge(found, Verdict())["checks"]]
    assert "recall_way" not in names
    assert "recall_kept" not in names


def test_the_scores_of_a_retrained_model_are_never_taken_for_the_unlearned_one() -> None:
    found = [*scores({("familiarity_completion", "forget"): (0.30, 0.25)})]
    found.append(score("familiarity_completion", "forget", "retrained", 0.0))
    assert failed(found) == ["familiarity_completion"]
