"""Intervals: known values, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from expunge.measures.statistics import (
    bootstrap_interval,
    difference_interval,
    exact_lower_limit,
    paired_interval,
    paired_share_interval,
    share_interval,
    t_quantile,
    wilson_interval,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (1, 1), (81, 263), (299, 300)])
def test_wilson_is_that_of_scipy(successes: int, n: int) -> None:
    expected = binomtest(successes, n).proportion_ci(0.95, "wilson")
    low, high = wilson_interval(successes, n)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert low < high


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (1, 5), (5, 5), (2, 15), (39, 400), (90, 1000)])
def test_from_the_exact_lower_limit_so_many_come_about_in_one_case_of_forty(successes: int, n: int) -> None:
    limit = exact_lower_limit(successes, n)
    fewer = math.fsum(math.comb(n, k) * limit**k * (1 - limit) ** (n - k) for k in range(successes))
    assert 1 - fewer == pytest.approx(0.025 if successes else 1.0, abs=1e-9)
    assert limit == pytest.approx(binomtest(successes, n).proportion_ci(0.95, "exact").low, abs=1e-9)


def test_wilson_published_value() -> None:
    """Newcombe 1998, table I, method 3: 81 of 263 gives 0.2553 to 0.3662."""
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_the_mean_may_be_weighted() -> None:
    values, weights = [1.0, 3.0] * 50, [3.0, 1.0] * 50
    mean, low, high = bootstrap_interval(values, weights)
    assert mean == 1.5
    assert (low, high) == pytest.approx((1.33, 1.71), abs=0.05)


def test_a_weight_of_zero_takes_part_in_nothing() -> None:
    values, weights = [0.2, 0.4, 0.9, 0.1, 0.5] * 6, [1.0] * 30
    mean, _, _ = bootstrap_interval([*values, 1000.0], [*weights, 0.0])
    assert mean == pytest.approx(np.mean(values))


def test_equal_shares_have_an_interval() -> None:
    assert share_interval([1.0] * 60) == (1.0, pytest.approx(60 / 63.841, abs=1e-4), 1.0)
    assert share_interval([0.0] * 20) == (0.0, *wilson_interval(0, 20))
    mean, low, high = share_interval([0.3] * 9)
    assert (mean, low, high) == (pytest.approx(0.3), pytest.approx(0.209, abs=0.01), pytest.approx(0.41, abs=0.01))
    assert share_interval([0.4])[1:] == pytest.approx(wilson_interval(0.4, 1))
    for before, after in (([1.0] * 60, [1.0] * 60), ([0.0, 1.0] * 30, [0.0, 1.0] * 30)):
        _, low, high = paired_share_interval(before, after)
        assert (low, high) == pytest.approx((-0.0447, 0.0447), abs=1e-4)  # 1.96 sqrt(2 / 62) / sqrt(62)
    mean, low, high = paired_share_interval([0.5, 0.1, 0.2, 0.6], [0.75, 0.35, 0.45, 0.85])
    assert (mean, low, high) == pytest.approx((0.25, 0.25 - 3.1786 / 4, 1.0), abs=1e-3)
    assert paired_share_interval([0.5], [0.4])[1:] == (-1.0, 1.0)


def test_of_equal_values_without_bounds_nothing_can_be_said() -> None:
    assert bootstrap_interval([2.5] * 9) == (2.5, 2.5, 2.5)
    assert bootstrap_interval([2.5], [100.0]) == (2.5, 2.5, 2.5)
    assert paired_interval([2.5, 3.0], [2.75, 3.25]) == (0.25, 0.25, 0.25)


def test_the_paired_interval_of_yes_and_no_is_the_published_one() -> None:
    """Bonett and Price 2012, as the R package statpsych has it: 48 pairs, 4 the one way and 26 the other."""
    before, after = [0.0] * 26 + [1.0] * 4 + [0.0] * 12 + [1.0] * 6, [1.0] * 26 + [0.0] * 4 + [0.0] * 12 + [1.0] * 6
    mean, low, high = paired_share_interval(before, after)
    assert mean == pytest.approx(22 / 48)
    assert (low, high) == pytest.approx((0.2548067, 0.6251933), abs=1e-7)


@pytest.mark.parametrize(
    ("degrees", "printed"), [(1, 12.706), (2, 4.303), (3, 3.182), (7, 2.365), (30, 2.042), (120, 1.980)]
)
def test_the_quantiles_of_students_distribution_are_those_of_the_tables(degrees: int, printed: float) -> None:
    assert t_quantile(degrees) == pytest.approx(printed, abs=5e-4)


def test_a_small_sample_is_given_students_width() -> None:
    values = [1.0, 2.0, 4.0, 3.0, 5.0, 2.5, 3.5, 1.5]
    mean, low, high = bootstrap_interval(values)
    half = student.ppf(0.975, 7) * np.std(values, ddof=1) / np.sqrt(8)
    assert (low, high) == pytest.approx((mean - half, mean + half), rel=0.06)


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
    with pytest.raises(ValueError, match="at least one"):
        share_interval([])


def coverage(truth: float, draw: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Share of rows whose interval holds the truth."""
    held = 0
    for number, values in enumerate(draw):
        _, low, high = bootstrap_interval(
            values.tolist(), None if weights is None else weights[number].tolist(), number
        )
        held += low <= truth <= high
    return held / len(draw)


@pytest.mark.parametrize("n", [4, 8, 20, 100])
@pytest.mark.parametrize("kind", ["equal weights", "weighted"])
def test_a_95_per_cent_interval_holds_the_truth_95_times_in_100(
    kind: str, n: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("expunge.measures.statistics.RESAMPLES", 400)
    generator = np.random.default_rng(7)
    trials = 1000
    weights, draw = None, generator.normal(2, 1, (trials, n))
    if kind == "weighted":  # blocks of unlike length: a block's mean is the less noisy the longer it is
        weights = generator.integers(50, 512, (trials, n)).astype(float)
        draw = 2 + (draw - 2) * 15 / np.sqrt(weights)
    assert 0.92 <= coverage(2.0, draw, weights) <= 0.975


def draw_shares(kind: str, shape: tuple[int, int], generator: np.random.Generator) -> tuple[float, np.ndarray]:
    """(true mean, values in [0, 1]): yes or no, familiarity over three completions, or something like ROUGE-L."""
    name, _, share = kind.partition(" ")
    if name == "yes":
        return float(share), (generator.random(shape) < float(share)).astype(float)
    if name == "familiarity":
        drawn, unique = generator.random((*shape, 3)), float(share)
        return 1.4 * unique, np.where(drawn < unique, 1.0, np.where(drawn < 3 * unique, 0.2, 0.0)).mean(2)
    return 0.2, generator.beta(2, 8, shape)


@pytest.mark.parametrize("n", [3, 8, 20, 60])
@pytest.mark.parametrize(
    "kind", ["yes 0.5", "yes 0.9", "familiarity 0.3", "familiarity 0.03", "familiarity 0.01", "rouge"]
)
def test_the_interval_of_shares_holds_the_truth_in_small_samples(kind: str, n: int) -> None:
    truth, draw = draw_shares(kind, (1000, n), np.random.default_rng(5))
    found = [share_interval(values.tolist()) for values in draw]
    assert np.mean([low <= truth <= high for _, low, high in found]) >= 0.93
    assert all(0 <= low <= mean <= high <= 1 and low < high for mean, low, high in found)


@pytest.mark.parametrize("n", [3, 8, 20, 60])
@pytest.mark.parametrize(
    "kinds",
    [("yes 0.9", "yes 0.9"), ("yes 0.98", "yes 0.95"), ("familiarity 0.3", "familiarity 0.03"), ("rouge", "rouge")],
)
def test_the_paired_interval_of_shares_holds_the_truth_in_small_samples(kinds: tuple[str, str], n: int) -> None:
    generator = np.random.default_rng(6)
    (was, before), (becomes, after) = (draw_shares(kind, (1000, n), generator) for kind in kinds)
    pairs = [paired_share_interval(b.tolist(), a.tolist()) for b, a in zip(before, after, strict=True)]
    assert np.mean([low <= becomes - was <= high for _, low, high in pairs]) >= 0.93
    assert all(low < high for _, low, high in pairs)


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


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [((56, 70), (48, 80), (0.0524, 0.3339)), ((9, 10), (3, 10), (0.1705, 0.8090)), ((10, 10), (0, 10), (0.6075, 1.0))],
)
def test_the_interval_of_a_difference_is_the_published_one(
    one: tuple[int, int], other: tuple[int, int], expected: tuple[float, float]
) -> None:
    """Newcombe 1998 (Statistics in Medicine 17, 873), table II, method 10."""
    sides = [(k / n, *wilson_interval(k, n)) for k, n in (one, other)]
    difference, low, high = difference_interval(*sides)
    assert difference == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (low, high) == pytest.approx(expected, abs=5e-5)
