"""Forget quality, model utility and PrivLeak, against SciPy and definitions written out."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

from expunge.measures.language.models import forget_quality, model_utility, privleak


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """By its definition, at every place where a function jumps."""
    return max(abs(float(np.mean(one <= at) - np.mean(other <= at))) for at in np.concatenate((one, other)))


def test_forget_quality_is_the_share_of_splits_that_lie_as_far_apart() -> None:
    """The exact test by its definition: all ways to split the ten ratios in two fives."""
    ours, theirs = normal(5) + 1.2, normal(5, seed=1)
    every = np.concatenate((ours, theirs))
    splits = [np.isin(np.arange(10), rows) for rows in combinations(range(10), 5)]
    far = [distance(every[split], every[~split]) for split in splits]
    found = forget_quality([ours], theirs)
    assert found.distance.value == pytest.approx(distance(ours, theirs), rel=1e-12)
    assert found.p == pytest.approx(np.mean(np.array(far) >= distance(ours, theirs) - 1e-9), rel=1e-12)
    assert 0.01 < found.p < 0.9
    # The test looks at ranks alone, so a ratio and its logarithm are the same to it.
    assert forget_quality([np.exp(ours)], np.exp(theirs)) == found


def test_equal_values_are_one_jump() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        one, other = generator.integers(0, 6, (2, 12))
        assert forget_quality([one], other).distance.value == pytest.approx(distance(one, other), abs=1e-14)


def test_the_same_model_has_quality_one_and_another_one_none() -> None:
    same, other = normal(60), normal(60, seed=1) + 9
    found = forget_quality([same], same)
    assert (found.p, found.distance.value, found.distance.low) == (1.0, 0.0, 0.0)
    found = forget_quality([other], same)
    assert found.p < 1e-20
    assert (found.distance.value, found.distance.high) == (1.0, 1.0)


def test_of_several_seeds_the_farthest_counts() -> None:
    theirs = normal(30, seed=1)
    seeds = np.stack((theirs, normal(30) + 1.5, normal(30, seed=3)))
    tests = [ks_2samp(each, theirs) for each in seeds]
    found = forget_quality(seeds, theirs)
    assert found.p == pytest.approx(min(test.pvalue for test in tests), rel=1e-12)
    assert found.p < 0.05 < np.mean([test.pvalue for test in tests])
    assert found.distance.value == pytest.approx(max(test.statistic for test in tests), rel=1e-12)


def test_the_interval_of_the_distance_is_that_of_dvoretzky_kiefer_and_wolfowitz() -> None:
    one = forget_quality([normal(400) + 0.8], normal(400, seed=1)).distance
    reach = 2 * np.sqrt(np.log(2 * 2 / 0.05) / 800)
    assert (one.low, one.high) == pytest.approx((one.value - reach, one.value + reach), rel=1e-12)
    assert 2 * 2 * np.exp(-2 * 400 * (reach / 2) ** 2) == pytest.approx(0.05)  # both functions, by Massart's bound
    three = forget_quality(np.stack([normal(400) + 0.8] * 3), normal(400, seed=1)).distance
    assert three.high > one.high


def test_the_interval_holds_the_distance_of_the_distributions() -> None:
    """Of two normal distributions with means 0 and 1: 0.383. And of equal ones: 0, where a bootstrap lies above it."""
    for shift, true in ((1.0, 0.3829249), (0.0, 0.0)):
        pairs = ((normal(50, seed=seed) + shift, normal(50, seed=1000 + seed)) for seed in range(200))
        found = [forget_quality([one], other).distance for one, other in pairs]
        assert np.mean([each.low <= true <= each.high for each in found]) >= 0.95
        assert np.mean([each.value for each in found]) > true  # biased upward, in the sample itself


def test_model_utility_is_the_harmonic_mean_of_nine() -> None:
    generator = np.random.default_rng(0)
    splits = [generator.uniform(0.1, 0.9, (1, n, 3)) for n in (30, 20, 25)]
    found = model_utility(splits)
    assert found.value == pytest.approx(hmean(np.concatenate([split[0].mean(0) for split in splits])), rel=1e-12)
    assert found.low < found.value < found.high
    assert found.high - found.low < 0.2
    seeds = [np.concatenate((split, 0.5 * split)) for split in splits]
    assert model_utility(seeds).value == pytest.approx(0.75 * found.value, rel=1e-12)


def test_model_utility_is_none_where_one_of_nine_is() -> None:
    splits = [np.full((1, 10, 3), 0.8) for _ in range(3)]
    splits[1][..., 2] = 0.0
    assert model_utility(splits).value == 0.0


def area(held: np.ndarray, taken: np.ndarray) -> float:
    return float(np.mean([[(h > t) + 0.5 * (h == t) for t in taken] for h in held]))


def test_privleak_is_how_far_the_area_is_from_the_retrained_one() -> None:
    forget, holdout = normal(12) + 1, normal(15, seed=1)
    theirs = normal(12, seed=2) + 0.2, normal(15, seed=3)
    reference = area(theirs[1], theirs[0])
    found = privleak([forget], [holdout], *theirs)
    assert found.value == pytest.approx(100 * (area(holdout, forget) - reference) / reference, rel=1e-12)
    assert found.low < found.value < found.high


def test_privleak_has_the_sign_of_muse() -> None:
    """A model that still knows every forgotten text is at -100; one that was pushed from them far above 0."""
    held, same = np.linspace(-4, -3, 20), np.linspace(-4, -3, 20)
    assert privleak([same + 3], [held], same, held).value == pytest.approx(-100)
    assert privleak([same], [held], same, held).value == 0
    assert privleak([same - 3], [held], same, held).value == pytest.approx(100)
