"""How well a score separates two groups: area under the ROC curve and its beginning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.statistics import Estimate, Z, mean_variance, wilson_interval


def _groups(positive: ArrayLike, negative: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    groups = []
    for values, name in ((positive, "positive"), (negative, "negative")):
        array = np.asarray(values, dtype=np.float64).ravel()
        if array.size == 0 or np.any(np.isnan(array)):
            raise DataError(
                f"Scores of the {name} group cannot be ranked",
                seen="none" if array.size == 0 else f"{int(np.isnan(array).sum())} NaN",
            )
        groups.append(array)
    return groups[0], groups[1]


def placements(values: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(values,) share of the others below each value, ties counting half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(below / (2 * len(others)))


def delong(positive: ArrayLike, negative: ArrayLike) -> Estimate:
    """Area with its 95 % interval for independent scores (DeLong et al. 1988, Biometrics 44, 837).

    The area is the probability that a positive score lies above a negative one, ties counting half.
    The normal interval is taken on the logit scale, so it stays within 0 and 1. Groups that are distinguished without
    an error have no variance; there the interval is that of the rule of three for the smaller group.
    """
    p, n = _groups(positive, negative)
    of_positive, of_negative = placements(p, n), 1 - placements(n, p)
    value = float(of_positive.mean())
    fewest = min(len(p), len(n))
    if fewest < 2:
        return Estimate(value, 0.0, 1.0)
    if value in (0.0, 1.0):
        margin = min(1.0, 3 / fewest)
        return Estimate(value, max(0.0, value - margin), min(1.0, value + margin))
    deviation = np.sqrt(of_positive.var(ddof=1) / len(p) + of_negative.var(ddof=1) / len(n))
    centre, half = np.log(value / (1 - value)), Z * deviation / (value * (1 - value))
    low, high = 1 / (1 + np.exp(-np.array([centre - half, centre + half])))
    return Estimate(value, float(low), float(high))


def area_difference(
    positive: ArrayLike,
    negative: ArrayLike,
    other_positive: ArrayLike,
    other_negative: ArrayLike,
    paired: bool,
    groups: Sequence[Sequence[int] | None] = (None, None, None),
) -> Estimate:
    """Area of one score less that of another, with its 95 % interval (DeLong et al. 1988, equation 5), of placements.

    Placements that belong together are summed before their variance is taken (Obuchowski 1997, Biometrics 53, 567).

    Args:
        positive, negative: placements of the first score: for each positive the share of negatives below it, and for
            each negative the share of positives above it. other_positive, other_negative: of the second.
        paired: whether both scores have the same positives. The negatives are the same.
        groups: groups of the positives of the first score, of the second, and of the negatives; None: no groups.
    """
    p, n, q, m = (np.asarray(v, np.float64) for v in (positive, negative, other_positive, other_negative))
    value = float(p.mean() - q.mean())
    own, other, negatives = groups
    parts = [(p - q, own), (n - m, negatives)] if paired else [(p, own), (q, other), (n - m, negatives)]
    variance = sum(mean_variance(values, together) for values, together in parts)
    half = Z * float(np.sqrt(variance))
    return Estimate(value, value - half, value + half)


def tpr_at_fpr(positive: ArrayLike, negative: ArrayLike, fpr: float) -> float:
    """Largest share of positives at or above a threshold with at most `fpr` of the negatives there.

    No interpolation: with fewer than 1 / fpr negatives, none of them may be called positive.
    """
    p, n = _groups(positive, negative)
    allowed = int(np.floor(fpr * len(n) + 1e-9))
    if allowed >= len(n):
        return 1.0
    return _share_above(p, n, allowed)


def _share_above(positive: np.ndarray, negative: np.ndarray, allowed: int) -> float:
    """Share of positives above all negatives but the `allowed` largest."""
    place = len(negative) - 1 - allowed
    return int(np.count_nonzero(positive > np.partition(negative, place)[place])) / len(positive)


def tpr_interval(
    positive: ArrayLike, negative: ArrayLike, fpr: float, resamples: int = 1000, seed: int = 0
) -> Estimate:
    """`tpr_at_fpr` of independent scores with its 95 % interval, both groups bootstrapped (Platt et al. 2000).

    Where no or all positives are found, the bootstrap is blind: Wilson's limits for that share are taken there.
    """
    p, n = _groups(positive, negative)
    value = tpr_at_fpr(p, n, fpr)
    generator = np.random.default_rng(seed)
    allowed = int(np.floor(fpr * len(n) + 1e-9))
    if allowed < len(n):
        pairs = ((generator.choice(p, len(p)), generator.choice(n, len(n))) for _ in range(resamples))
        draws = [_share_above(*pair, allowed) for pair in pairs]
    else:
        draws = [1.0] * resamples
    low, high = np.percentile(draws, [2.5, 97.5])
    if value in (0.0, 1.0):
        limits = wilson_interval(round(value * len(p)), len(p))
        low, high = min(low, limits[0]), max(high, limits[1])
    return Estimate(value, float(low), float(high))


class WeightedCurve:
    """The ROC curve of scores (n,) with `positive` (n,) bool, sorted once: what a bootstrap over clusters needs.

    (scikit-learn's `roc_curve` takes weights, too, and sorts the scores every time.)
    """

    def __init__(self, scores: np.ndarray, positive: np.ndarray) -> None:
        self._order = np.argsort(-scores, kind="stable")
        self._ends = np.flatnonzero(np.append(np.diff(scores[self._order]) != 0, True))
        self._positive = positive[self._order]

    def area_and_rates(self, weights: np.ndarray, fprs: tuple[float, ...]) -> tuple[float, ...]:
        """Area, then the TPR at each FPR, of observations with weights (n,); NaN if a group has no weight."""
        weight = weights[self._order].astype(np.float64)
        hits = np.append(0.0, np.cumsum(weight * self._positive)[self._ends])
        alarms = np.append(0.0, np.cumsum(weight * ~self._positive)[self._ends])
        if hits[-1] == 0 or alarms[-1] == 0:
            return (np.nan,) * (1 + len(fprs))
        area = np.sum(np.diff(alarms) * (hits[1:] + hits[:-1])) / (2 * hits[-1] * alarms[-1])
        rates = []
        for fpr in fprs:
            last = np.searchsorted(alarms, fpr * alarms[-1] + 1e-9, "right") - 1
            rates.append(float(hits[last] / hits[-1]))
        return float(area), *rates
