"""Intervals: known values, and how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from expunge.measures.statistics import bootstrap_interval, paired_interval, wilson_interval


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (81, 263), (299, 300)])
def test_wilson_is_that_of_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(0.95, "wilson")
    low, high = wilson_interval(successes, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert low < high


def test_wilson_published_value() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_mean_may_be_weighted() -> None:
    mean, low, high = bootstrap_interval([1.0, 3.0], [3.0, 1.0])
    assert mean == 1.5
    assert (low, high) == (1.0, 3.0)


def test_a_weight_of_zero_takes_part_in_nothing() -> None:
    values, weights = [0.2, 0.4, 0.9, 0.1, 0.5] * 6, [1.0] * 30
    mean, _, _ = bootstrap_interval([*values, 1000.0], [*weights, 0.0])
    assert mean == pytest.approx(np.mean(values))


def test_equal_values() -> None:
    assert bootstrap_interval([0.3] * 9) == (pytest.approx(0.3),) * 3
    assert bootstrap_interval([1.0] * 20) == (1.0, *wilson_interval(20, 20))
    assert bootstrap_interval([0.0] * 20) == (0.0, *wilson_interval(0, 20))
    assert paired_interval([0.5, 0.1], [0.75, 0.35]) == (pytest.approx(0.25),) * 3


def test_the_same_values_have_the_same_interval() -> None:
    values = np.random.default_rng(0).normal(size=50).tolist()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)


def test_the_interval_of_normal_values_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    mean, low, high = bootstrap_interval(values.tolist())
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)


def test_many_examples_are_resampled_in_slices_of_bounded_memory() -> None:
    values = np.random.default_rng(2).normal(size=3_000)
    _, low, high = bootstrap_interval(values.tolist())
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(3_000), rel=0.1)


def test_nothing_to_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="at least one"):
        paired_interval([], [])
    with pytest.raises(ValueError, match="equal lengths, got 2 and 1"):
        paired_interval([1, 2], [1])


def coverage(truth: float, draw: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Share of rows whose interval holds the truth."""
    held = 0
    for number, values in enumerate(draw):
        _, low, high = bootstrap_interval(
            values.tolist(), None if weights is None else weights[number].tolist(), number
        )
        held += low <= truth <= high
    return held / len(draw)


@pytest.mark.parametrize("kind", ["normal", "shares", "weighted"])
def test_a_95_per_cent_interval_holds_the_truth_95_times_in_100(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.measures.statistics.RESAMPLES", 500)
    generator = np.random.default_rng(7)
    trials, n = 1500, 100
    weights = None
    if kind == "shares":
        truth, draw = 0.3, (generator.random((trials, n)) < 0.3).astype(float)
    else:
        truth, draw = 2.0, generator.normal(2, 1, (trials, n))
    if kind == "weighted":  # blocks of unlike length: a block's mean is the less noisy the longer it is
        weights = generator.integers(50, 512, (trials, n)).astype(float)
        draw = 2 + (draw - 2) * 15 / np.sqrt(weights)
    assert 0.93 <= coverage(truth, draw, weights) <= 0.97


def test_two_equal_models_differ_falsely_about_once_in_twenty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are noisy readings of the same hard and easy examples; only pairing sees through their spread."""
    monkeypatch.setattr("expunge.measures.statistics.RESAMPLES", 500)
    generator = np.random.default_rng(11)
    false, wide = 0, 0
    for number in range(1000):
        hardness = generator.normal(0, 3, 60)
        before, after = hardness + generator.normal(size=60), hardness + generator.normal(size=60)
        _, low, high = paired_interval(before.tolist(), after.tolist(), number)
        false += not low <= 0 <= high
        wide += high - low > 1.5
    assert 0.03 <= false / 1000 <= 0.07
    assert wide == 0


def test_a_small_true_difference_is_seen_in_pairs_and_not_without() -> None:
    generator = np.random.default_rng(3)
    hardness = generator.normal(0, 3, 100)
    after = hardness + 0.3 + generator.normal(0, 0.3, 100)
    _, low, _ = paired_interval(hardness.tolist(), after.tolist())
    assert low > 0.2
    assert bootstrap_interval(hardness.tolist())[2] > bootstrap_interval(after.tolist())[1]
