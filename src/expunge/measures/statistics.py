"""Intervals: bootstrap over examples, in pairs where two models saw the same examples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES = 2000
"bootstrap resamples; the 95 % limits then vary by about 1 % of the interval's width"


def _resampled_means(values: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    n = len(values)
    means = np.empty(RESAMPLES)
    rows = max(1, 2_000_000 // n)  # bounds memory to a few tens of MB
    for start in range(0, RESAMPLES, rows):
        stop = min(start + rows, RESAMPLES)
        chosen = generator.integers(0, n, size=(stop - start, n))
        means[start:stop] = (values[chosen] * weights[chosen]).sum(1) / weights[chosen].sum(1)
    return means


def bootstrap_interval(
    values: Sequence[float], weights: Sequence[float] | None = None, seed: int = 0
) -> tuple[float, float, float]:
    """(mean, low, high): the (weighted) mean of per-example values with its 95 % percentile bootstrap interval.

    Examples are resampled with replacement together with their weights (Efron and Tibshirani 1993, chapter 13), so
    for token-weighted means the block is the unit of resampling, not the token.

    Where all values are equal the bootstrap is blind (an interval of width zero). For values in {0, 1} the Wilson
    interval is returned there instead.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("an interval needs at least one value")
    weight = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
    mean = float((array * weight).sum() / weight.sum())
    if np.all(array == array[0]):
        if array[0] in (0.0, 1.0):
            low, high = wilson_interval(int(array.sum()), len(array))
            return mean, low, high
        return mean, mean, mean
    means = _resampled_means(array, weight, seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def paired_interval(before: Sequence[float], after: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """(mean, low, high) of `after - before` over the same examples in the same order, 95 % paired bootstrap."""
    if len(before) != len(after):
        raise ValueError(f"paired values need equal lengths, got {len(before)} and {len(after)}")
    difference = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    if difference.size == 0:
        raise ValueError("an interval needs at least one value")
    mean = float(difference.mean())
    if np.all(difference == difference[0]):
        return mean, mean, mean
    means = _resampled_means(difference, np.ones_like(difference), seed)
    low, high = np.percentile(means, [2.5, 97.5])
    return mean, float(low), float(high)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927); never of width zero."""
    z = 1.959963984540054
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return float(max(0.0, centre - half)), float(min(1.0, centre + half))
