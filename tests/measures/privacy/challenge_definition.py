"""The challenge's metric as its text defines it, threshold by threshold: slow, and independent of what it checks.

Every threshold is a number that is compared with every confidence. Nothing is sorted, counted in advance or reused.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def attack_epsilon(positive_said: np.ndarray, negative_said: np.ndarray) -> float:
    """Epsilon of one attack that calls these of the positive and of the negative models positive; NaN if dropped."""
    missed, alarms = 1 - positive_said.mean(), negative_said.mean()
    if np.all(positive_said) and not np.any(negative_said):
        return np.inf
    if np.all(positive_said) or not np.any(negative_said):
        return np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.log(1 - 1e-5 - alarms) - np.log(missed), np.log(1 - 1e-5 - missed) - np.log(alarms)
    known = [value for value in both if not np.isnan(value)]
    return max(0.0, *known) if known else np.nan


def single_thresholds(everything: np.ndarray) -> np.ndarray:
    low, high = everything.min(), everything.max()
    return np.linspace(low, high, int(np.ceil((high - low) * 100)))


def right_ends(narrow: np.ndarray) -> np.ndarray:
    low = narrow.min() + (narrow.max() - narrow.min()) - 2.0
    high = narrow.max() + 2.0
    return np.linspace(low, high, int(np.ceil((high - low) * 100)))


def left_ends(right: float, width: float) -> np.ndarray:
    return np.linspace(right - width - 2.0, right - width + 2.0, 400)


def roles(unlearned: np.ndarray, retrained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if np.median(retrained) > np.median(unlearned):
        return retrained, unlearned
    return unlearned, retrained


def narrow_first(positive: np.ndarray, negative: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if positive.max() - positive.min() >= negative.max() - negative.min():
        return negative, positive
    return positive, negative


def one_by_one(unlearned: np.ndarray, retrained: np.ndarray) -> Iterator[float]:
    """Epsilon of every attack, one threshold or interval at a time, over all models at once."""
    positive, negative = roles(unlearned, retrained)
    for threshold in single_thresholds(np.concatenate((positive, negative))):
        yield attack_epsilon(positive >= threshold, negative >= threshold)
    positive, negative = narrow_first(positive, negative)
    width = positive.max() - positive.min()
    for right in right_ends(positive):
        for left in left_ends(right, width):
            yield attack_epsilon((left <= positive) & (positive <= right), (left <= negative) & (negative <= right))


def row_epsilon(positive_said: np.ndarray, negative_said: np.ndarray) -> float:
    """The largest of `attack_epsilon` over the last axis of (models, thresholds); NaN if all are dropped."""
    missed, alarms = (~positive_said).mean(0), negative_said.mean(0)
    if np.any((missed == 0) & (alarms == 0)):
        return np.inf
    kept = (missed > 0) & (alarms > 0) & ((missed < 1) | (alarms < 1))
    if not kept.any():
        return np.nan
    missed, alarms = missed[kept], alarms[kept]
    with np.errstate(invalid="ignore", divide="ignore"):
        both = np.log(1 - 1e-5 - alarms) - np.log(missed), np.log(1 - 1e-5 - missed) - np.log(alarms)
    return float(max(0.0, np.nanmax(both)))


def row_by_row(unlearned: np.ndarray, retrained: np.ndarray) -> Iterator[float]:
    """The same, with the 400 left ends of a right end (or all single thresholds) compared at once: for tests."""
    positive, negative = roles(unlearned, retrained)
    thresholds = single_thresholds(np.concatenate((positive, negative)))
    for part in np.array_split(thresholds, 1 + len(thresholds) // 1000):
        if len(part):
            yield row_epsilon(positive[:, None] >= part, negative[:, None] >= part)
    positive, negative = narrow_first(positive, negative)
    width = positive.max() - positive.min()
    p, n = positive[:, None], negative[:, None]
    for right in right_ends(positive):
        left = left_ends(right, width)
        yield row_epsilon((left <= p) & (p <= right), (left <= n) & (n <= right))


def epsilon(unlearned: np.ndarray, retrained: np.ndarray, slowly: bool = False) -> float:
    """The example's epsilon in [0, 50]. Where every attack is dropped the published code ends in an error; here 0."""
    a, b = unlearned.max() - unlearned.min(), retrained.max() - retrained.min()
    if max(a, b) > 0 and min(a, b) / max(a, b) < 0.01:
        return 50.0
    every = one_by_one(unlearned, retrained) if slowly else row_by_row(unlearned, retrained)
    largest = 0.0
    for value in every:
        if value > largest:  # false for NaN
            largest = value
    return min(largest, 50.0)


def forgetting_quality(epsilons: list[float], models: int) -> float:
    """Mean points: 1 below .5, half as many for each further .5, none beyond ceil(ln(models - 1))."""
    total = 0.0
    for value in epsilons:
        points, end = 1.0, 0.5
        while end <= np.ceil(np.log(models - 1)):
            if value < end:
                total += points
                break
            points, end = points / 2, end + 0.5
    return total / len(epsilons)
