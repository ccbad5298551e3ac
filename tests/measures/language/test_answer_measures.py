"""Measures of one answer, against their definitions written out over plain probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from expunge.measures.language import answers

GENERATOR = np.random.default_rng(3)


def tokens(count: int) -> np.ndarray:
    """Probabilities of an answer's tokens."""
    return GENERATOR.uniform(0.02, 0.98, count)


def normalised(p: np.ndarray) -> float:
    return float(np.prod(p) ** (1 / len(p)))


def mean_log(p: np.ndarray) -> float:
    return float(np.log(p).mean())


def test_probability_is_the_geometric_mean() -> None:
    p = tokens(7)
    assert answers.probability(mean_log(p)) == pytest.approx(normalised(p), rel=1e-13)
    assert answers.probability(0.0) == 1.0
    assert answers.probability(-2000.0) == 0.0


def test_probability_of_options_is_a_share() -> None:
    true, wrong = tokens(3), [tokens(4), tokens(2), tokens(9)]
    expected = normalised(true) / (normalised(true) + sum(map(normalised, wrong)))
    assert answers.probability_options(mean_log(true), [mean_log(p) for p in wrong]) == pytest.approx(
        expected, rel=1e-13
    )
    assert answers.probability_options(-1500.0, [-1500.0] * 3) == pytest.approx(0.25)  # where probabilities are all 0


@pytest.mark.parametrize("mean", ["geometric", "arithmetic"])
def test_truth_ratios(mean: answers.Mean) -> None:
    correct, wrong = tokens(6), [tokens(5), tokens(8), tokens(3), tokens(4), tokens(7)]
    of_wrong = np.array([normalised(p) for p in wrong])
    middle = of_wrong.mean() if mean == "arithmetic" else math.prod(of_wrong) ** (1 / 5)
    ratio = middle / normalised(correct)
    log_ratio = answers.log_truth_ratio(mean_log(correct), [mean_log(p) for p in wrong], mean)
    assert math.exp(log_ratio) == pytest.approx(ratio, rel=1e-12)
    assert answers.truth_ratio_forget(log_ratio) == pytest.approx(min(ratio, 1 / ratio), rel=1e-12)
    assert answers.truth_ratio_retain(log_ratio) == pytest.approx(max(0, 1 - ratio), abs=1e-12)
    expected = normalised(correct) / (normalised(correct) + middle)
    assert answers.truth_ratio_openunlearning(log_ratio) == pytest.approx(expected, rel=1e-12)


def test_the_means_differ_and_their_order_is_known() -> None:
    wrong = [-0.1, -5.0]
    geometric = answers.log_truth_ratio(-1.0, wrong)
    assert answers.log_truth_ratio(-1.0, wrong, "arithmetic") > geometric + 0.5
    assert answers.log_truth_ratio(-1.0, [-2.0] * 5, "arithmetic") == pytest.approx(-1.0, abs=1e-15)


@pytest.mark.parametrize(("log_ratio", "forget", "retain", "share"), [
    (0.0, 1.0, 0.0, 0.5), (-900.0, 0.0, 1.0, 1.0), (900.0, 0.0, 0.0, 0.0),
])  # fmt: skip
def test_truth_ratios_at_their_limits(log_ratio: float, forget: float, retain: float, share: float) -> None:
    assert answers.truth_ratio_forget(log_ratio) == forget
    assert answers.truth_ratio_retain(log_ratio) == retain
    assert answers.truth_ratio_openunlearning(log_ratio) == share


def test_exact_memorization_is_a_share_of_tokens() -> None:
    assert answers.exact_memorization([True, False, True, True]) == 0.75
    assert answers.exact_memorization([False]) == 0.0


def test_min_k_takes_the_least_likely_tokens() -> None:
    log_p = [-1.0, -7.0, -3.0, -0.5, -4.0]
    assert answers.min_k(log_p) == pytest.approx((-7.0 - 4.0) / 2)  # 40 % of five
    assert answers.min_k(log_p, 0.1) == -7.0
    assert answers.min_k([-2.0]) == -2.0
    assert answers.min_k(log_p, 1.0) == pytest.approx(np.mean(log_p))
