"""Areas, rates and their intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm
from sklearn.metrics import roc_auc_score

from expunge.errors import DataError
from expunge.measures.privacy.roc import WeightedCurve, area_difference, delong, placements, tpr_at_fpr, tpr_interval


def test_area_worked_by_hand() -> None:
    """Of 2 x 3 pairs: 3 > 0, 1, 2 and 1 > 0, 1 = 1: (3 + 1.5) / 6."""
    assert delong([3.0, 1.0], [0.0, 1.0, 2.0]).value == pytest.approx(4.5 / 6)
    assert delong([1.0, 1.0], [1.0]).value == 0.5
    assert delong([1.0], [2.0]).value == 0


def test_area_is_the_rank_statistic() -> None:
    g = np.random.default_rng(0)
    p, n = g.integers(0, 9, 40) / 2, g.integers(0, 7, 55) / 2
    assert delong(p, n).value == pytest.approx(mannwhitneyu(p, n).statistic / (40 * 55))


def test_delong_worked_by_hand() -> None:
    """Placements of positives 1, .5 and of negatives (as losses) 1, .75, .5: variances 1/8 and 1/16."""
    found = delong([3.0, 1.0], [0.0, 1.0, 2.0])
    half = 1.959963984540054 * np.sqrt(0.125 / 2 + 0.0625 / 3) / (0.75 * 0.25)
    logit = np.log(3) + np.array([-half, half])
    assert found == pytest.approx((0.75, *(1 / (1 + np.exp(-logit)))))


def test_a_perfect_area_is_not_certain() -> None:
    assert delong([2.0] * 30, [1.0] * 10) == pytest.approx((1.0, 0.7, 1.0))
    assert delong([2.0], [1.0]) == (1.0, 0.0, 1.0)


def test_delong_holds_the_truth() -> None:
    g = np.random.default_rng(1)
    truth = norm.cdf(1 / np.sqrt(2))
    held = 0
    for _ in range(1000):
        _, low, high = delong(g.normal(1, 1, 30), g.normal(0, 1, 50))
        held += low <= truth <= high
    assert 0.93 <= held / 1000 <= 0.975


def test_rates_worked_by_hand() -> None:
    negative = np.arange(200) / 200  # two of them may be called positive at 1 %
    assert tpr_at_fpr([0.98, 0.985, 0.986, 0.995, 2.0], negative, 0.01) == pytest.approx(3 / 5)
    assert tpr_at_fpr([0.995, 2.0], negative[:50], 0.01) == 1  # 50 negatives: none may, and they end at 0.245
    assert tpr_at_fpr([0.0], [1.0], 1.0) == 1


def test_rate_interval() -> None:
    g = np.random.default_rng(2)
    found = tpr_interval(g.normal(2, 1, 400), g.normal(0, 1, 4000), 0.01, resamples=300)
    truth = 1 - norm.cdf(norm.ppf(0.99) - 2)
    assert found.low <= truth <= found.high
    assert found.high - found.low < 0.2
    nothing = tpr_interval([0.0] * 20, [1.0] * 20, 0.01)
    assert nothing.value == 0
    assert nothing.high > 0.1


def test_weights_are_repetitions() -> None:
    g = np.random.default_rng(3)
    scores, positive = g.integers(0, 12, 300).astype(float), g.random(300) < 0.4
    weights = g.integers(0, 4, 300)
    repeated, labels = np.repeat(scores, weights), np.repeat(positive, weights)
    p, n = repeated[labels], repeated[~labels]
    found = WeightedCurve(scores, positive).area_and_rates(weights, (0.1, 0.01))
    assert found == pytest.approx((delong(p, n).value, tpr_at_fpr(p, n, 0.1), tpr_at_fpr(p, n, 0.01)))
    assert found[0] == pytest.approx(roc_auc_score(positive, scores, sample_weight=weights), abs=1e-12)
    assert np.isnan(WeightedCurve(scores, positive).area_and_rates(np.zeros(300), (0.1,))).all()


def test_nothing_to_rank() -> None:
    with pytest.raises(DataError, match="cannot be ranked"):
        delong([], [1.0])
    with pytest.raises(DataError, match="1 NaN"):
        delong([1.0], [np.nan])


def placed(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return placements(positive, negative), 1 - placements(negative, positive)


def test_two_areas_of_the_same_examples_are_compared_in_pairs() -> None:
    """Scores that differ by little noise: the interval is a fraction of that of separate examples, and holds 0 in 95 %."""
    inside, narrower = 0, 0
    for seed in range(400):
        g = np.random.default_rng(seed)
        positive, negative = g.normal(0.5, 1, 50), g.normal(0, 1, 60)
        one = placed(positive, negative)
        other = placed(positive + g.normal(0, 0.3, 50), negative + g.normal(0, 0.3, 60))
        value, low, high = area_difference(*one, *other, paired=True)
        inside += low <= roc_gap(0.5, 0.3) <= high
        apart = area_difference(*one, *other, paired=False)
        assert value == apart.value == pytest.approx(np.mean(one[0]) - np.mean(other[0]))
        narrower += high - low < 0.6 * (apart.high - apart.low)
    assert 0.92 <= inside / 400 <= 0.98
    assert narrower > 390


def roc_gap(shift: float, noise: float) -> float:
    """Area of scores whose means lie `shift` apart, less that with noise on them."""
    return float(norm.cdf(shift / np.sqrt(2)) - norm.cdf(shift / np.sqrt(2 * (1 + noise**2))))
