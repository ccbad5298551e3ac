"""Forget quality, model utility and PrivLeak, against SciPy and definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import hmean, ks_2samp

from expunge.measures.language.models import forget_quality, ks_distances, ks_p_value, model_utility, privleak


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("n", [5, 40])
def test_forget_quality_is_the_test_of_scipy(n: int) -> None:
    ours, theirs = normal(n) + 0.7, normal(n, seed=1)
    expected = ks_2samp(ours, theirs)
    found = forget_quality([ours], theirs)
    assert found.p.value == pytest.approx(expected.pvalue, rel=1e-12)
    assert found.distance.value == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p.low <= found.p.value <= found.p.high
    # The test looks at ranks alone, so a ratio and its logarithm are the same to it.
    assert forget_quality([np.exp(ours)], np.exp(theirs)) == found


def test_distances_with_ties_are_those_of_scipy() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        one, other = generator.integers(0, 6, 12), generator.integers(0, 6, 12)
        rows = generator.integers(0, 12, 12)
        weights = np.stack((np.ones(12), np.bincount(rows, minlength=12)))
        found = ks_distances(one, other, weights)
        for distance, (a, b) in zip(found, ((one, other), (one[rows], other[rows])), strict=True):
            expected = ks_2samp(a, b)
            assert distance == pytest.approx(expected.statistic, abs=1e-14)
            assert ks_p_value(round(distance * 12), 12) == pytest.approx(expected.pvalue, rel=1e-12)


def test_the_same_model_has_quality_one_and_another_one_none() -> None:
    same, other = normal(60), normal(60, seed=1) + 9
    assert forget_quality([same], same).p == (1.0, 1.0, 1.0)
    found = forget_quality([other], same)
    assert found.p.high < 1e-20
    assert found.distance.value == 1.0


def test_over_seeds_the_value_is_the_mean() -> None:
    seeds, theirs = normal(3, 30) + 0.4, normal(30, seed=1)
    expected = np.mean([ks_2samp(each, theirs).pvalue for each in seeds])
    assert forget_quality(seeds, theirs).p.value == pytest.approx(expected, rel=1e-12)


def test_the_interval_gets_narrower_with_more_questions() -> None:
    few, many = (forget_quality([normal(n) + 0.5], normal(n, seed=1)).distance for n in (20, 320))
    assert many.high - many.low < 0.5 * (few.high - few.low)


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
