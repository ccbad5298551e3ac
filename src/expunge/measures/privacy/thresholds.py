"""The attacks of the 2023 unlearning challenge on one example, and the epsilon that they show.

An attack sees the confidence of one model and guesses from which of two sets of models it comes. The challenge has two
families: one threshold, and an interval with both ends on a grid. Their grids have about 160,000 members, but what an
attack does to N + M observed confidences depends only on which ones it separates. So here the confidences are
sorted, the grid is asked which ones it can separate, and counting is done once for each such choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

DELTA = 1e-5
CAP = 50.0
"epsilon of sets that are separated without an error, or of which one is far narrower than the other"
PER_UNIT = 100
"thresholds a unit of confidence"
MARGIN = 2.0
"how far an interval's ends go beyond the narrower set, and how far an end moves"
NARROW = 0.01
"ratio of the ranges below which epsilon is CAP, whatever the attacks find"
DROPPED = -1.0
LEFT_ENDS = int(np.ceil(2 * MARGIN * PER_UNIT))


@lru_cache(maxsize=16)
def _table(positives: int, negatives: int) -> np.ndarray:
    """Epsilon (positives + 1, negatives + 1) of an attack by its false negatives and false positives.

    max(log(1 - delta - FPR) - log FNR, log(1 - delta - FNR) - log FPR), at least 0; infinite where there is no error.
    An attack with errors of one kind only tells that there were too few models, and is dropped; so is one that is wrong
    on all, for which no logarithm exists.
    """
    fnr = np.arange(positives + 1)[:, None] / positives
    fpr = np.arange(negatives + 1)[None, :] / negatives
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.fmax(np.log(1 - DELTA - fpr) - np.log(fnr), np.log(1 - DELTA - fnr) - np.log(fpr))
    found = np.where(np.isnan(found), DROPPED, np.maximum(found, 0.0))
    found[0, :] = DROPPED
    found[:, 0] = DROPPED
    found[0, 0] = np.inf
    found.setflags(write=False)
    return found


def _separable(distinct: np.ndarray, start: np.ndarray, stop: np.ndarray, number: int) -> np.ndarray:
    """Whether grid row r has a point in (distinct[d - 1], distinct[d]]: (rows, D + 1), with -inf and inf at the ends.

    A row has `number` points from start to stop, both included, rounded as `numpy.linspace` rounds them.
    """
    rows, size = len(start), len(distinct)
    if number == 0 or rows == 0:
        return np.zeros((rows, size + 1), bool)
    below = _points_up_to(distinct, start, stop if number > 1 else start, number)
    result = np.empty((rows, size + 1), bool)
    result[:, 0] = below[:, 0] > 0
    np.greater(below[:, 1:], below[:, :-1], out=result[:, 1:-1])
    result[:, -1] = below[:, -1] < number
    return result


def _points_up_to(values: np.ndarray, start: np.ndarray, stop: np.ndarray, number: int) -> np.ndarray:
    """(rows, D) how many of a row's points are at most each value.

    Computed by division, except if a value is so close to a point that rounding matters; then the point is computed.
    """
    step = (stop - start) / max(number - 1, 1)
    safe = np.where(step > 0, step, 1.0)
    place = values - start[:, None]
    place /= safe[:, None]
    whole = np.rint(place)
    largest = max(abs(values[0]), abs(values[-1]), abs(start[0]), abs(stop[-1]), 1.0)
    doubt = 1e-7 + 16 * np.finfo(np.float64).eps * largest / safe.min()
    np.subtract(place, whole, out=place)
    row, column = np.nonzero(np.abs(place) < doubt)
    whole += place >= 0  # floor + 1
    near = whole[row, column][:, None] + np.arange(-2, 3)
    point = np.where(near == number - 1, stop[row, None], near * step[row, None] + start[row, None])
    reached = (near < 0) | ((near < number) & (point <= values[column, None]))
    whole[row, column] = near[:, 0] + reached.sum(1)
    return np.clip(whole, 0, number, out=whole)


@dataclass(frozen=True, slots=True)
class Attacks:
    """The separations of one example's confidences by the two families.

    An attack calls the distinct values from `low[k]` up to but not with `high[k]` positive. `unlearned_positive[k]`
    says which set it takes for the positive one. `distinct` are the sorted values of both sets.
    """

    distinct: np.ndarray
    low: np.ndarray
    high: np.ndarray
    unlearned_positive: np.ndarray


def find_attacks(unlearned: np.ndarray, retrained: np.ndarray) -> Attacks:
    """All that the challenge's single and double thresholds can separate of two sets (N,) and (M,) of confidences.

    Source: the text of the metric and the published google-deepmind/unlearning_evaluation. Its single thresholds are
    rounded to float32, which its text does not say; here they are float64.

    - Single: ceil(100 range) thresholds from the least to the largest of both sets. At or above one is positive; the
      positive set is the one with the larger median, the unlearned one where medians are equal.
    - Double: the positive set is the narrower one (the one with the smaller median where ranges are equal). With its
      range w, right ends go from its least value + w - 2 to its largest + 2 in ceil(100 (difference)) steps, and for
      each of them 400 left ends from right - w - 2 to right - w + 2. From left to right, both included, is positive.
    """
    distinct = np.unique(np.concatenate((unlearned, retrained)))
    size = len(distinct)
    larger = not np.median(retrained) > np.median(unlearned)
    bottom, top = distinct[:1], distinct[-1:]
    number = int(np.ceil((top[0] - bottom[0]) * PER_UNIT))
    single = np.flatnonzero(_separable(distinct, bottom, top, number)[0])

    positive, negative = (unlearned, retrained) if larger else (retrained, unlearned)
    narrow_is_positive = np.ptp(positive) < np.ptp(negative)
    narrow = positive if narrow_is_positive else negative
    least, largest = narrow.min(), narrow.max()
    width = largest - least
    begin, end = least + width - MARGIN, largest + MARGIN
    right = np.linspace(begin, end, max(0, int(np.ceil((end - begin) * PER_UNIT))))
    low = high = np.zeros(0, np.intp)
    if len(right):
        left = _separable(distinct, right - width - MARGIN, right - width + MARGIN, LEFT_ENDS)
        until = np.searchsorted(distinct, right, "right")
        changes = np.flatnonzero(np.diff(until, prepend=-1))
        row, low = np.nonzero(np.logical_or.reduceat(left, changes, axis=0))
        high = until[changes][row]
        low = np.minimum(low, high)  # an interval whose left end lies right of its right end holds nothing
    return Attacks(
        distinct,
        np.concatenate((single, low)),
        np.concatenate((np.full(len(single), size), high)),
        np.concatenate((np.full(len(single), larger), np.full(len(low), larger == narrow_is_positive))),
    )


def attack_epsilons(attacks: Attacks, unlearned_below: np.ndarray, retrained_below: np.ndarray) -> np.ndarray:
    """Largest epsilon (...,) over attacks, not capped; 0 if every attack is dropped.

    Args:
        unlearned_below: (..., D + 1) how many unlearned confidences are among the first d distinct values.
        retrained_below: the same for the retrained ones. The last entries are the same N and M for all rows.
    """
    n, m = int(unlearned_below.flat[-1]), int(retrained_below.flat[-1])
    largest = np.zeros(unlearned_below.shape[:-1])
    for unlearned_positive in (True, False):
        chosen = attacks.unlearned_positive == unlearned_positive
        if not chosen.any():
            continue
        low, high = attacks.low[chosen], attacks.high[chosen]
        u = unlearned_below.take(high, -1) - unlearned_below.take(low, -1)
        r = retrained_below.take(high, -1) - retrained_below.take(low, -1)
        hit, alarm, positives, negatives = (u, r, n, m) if unlearned_positive else (r, u, m, n)
        found = _table(positives, negatives).ravel().take((positives - hit) * (negatives + 1) + alarm)
        largest = np.maximum(largest, found.max(-1))
    return largest


def is_narrow(unlearned: np.ndarray, retrained: np.ndarray) -> bool:
    """Whether one set's range is under 1 % of the other's; False where both are constant, as published."""
    ranges = sorted((np.ptp(unlearned), np.ptp(retrained)))
    return bool(ranges[1] > 0 and ranges[0] / ranges[1] < NARROW)


def epsilon_of(unlearned: np.ndarray, retrained: np.ndarray) -> float:
    """The challenge's epsilon of two checked sets (N,) and (M,) of confidences, in [0, 50]."""
    if is_narrow(unlearned, retrained):
        return CAP
    attacks = find_attacks(unlearned, retrained)
    found = attack_epsilons(attacks, counts_below(attacks, unlearned), counts_below(attacks, retrained))
    return float(np.minimum(found, CAP))


def counts_below(attacks: Attacks, values: np.ndarray) -> np.ndarray:
    """(D + 1,) how many of the values (N,) are among the first d distinct ones."""
    return np.append(np.searchsorted(np.sort(values), attacks.distinct, "left"), len(values))


def points(epsilons: ArrayLike, bins: int) -> np.ndarray:
    """H = 2^-k for an epsilon in [k/2, (k + 1)/2), k = 0 ... bins - 1, and 0 beyond; same shape."""
    place = np.floor(2 * np.asarray(epsilons, dtype=np.float64))
    return np.where(place < bins, np.exp2(-place), 0.0)
