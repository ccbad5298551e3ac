"""What a model knows beyond a control, as a share of what the base model knew beyond it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from expunge.measures.statistics import Estimate, Z, mean_variance, t_quantile

Groups = tuple[int, ...]

RESAMPLES = 2000
"bootstrap resamples; p-values do not come from them"


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """An excess with its 95 % interval, and the probability of one as large for a model that knows as much as the
    control.

    Attributes:
        share: share of the target; NaN if the base model knew no more than the control.
        points: the same before the division: difference of means.
        p: one-sided p-value of a share that is at most the limit.
        p_less: the same of the model knowing less than the control, by at most the limit.
        n: facts.
    """

    share: Estimate
    points: Estimate
    p: float
    p_less: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Values of facts, (facts,) each from 0 to 1.

    Attributes:
        unlearned, control: under an attack; base, control_base: knowledge without one, of the base model and of the
            control, if the control is another model, or of the base model on the control's facts, if it is other facts.
        paired: whether the control's facts are the same, or derived from them one by one.
        groups, control_groups: (facts,) groups of facts, such as those of one person; None: no groups. For pairs
            the first one counts.
    """

    unlearned: Sequence[float]
    control: Sequence[float]
    base: Sequence[float]
    control_base: Sequence[float]
    paired: bool = True
    groups: Sequence[int] | None = None
    control_groups: Sequence[int] | None = None


def excess(known: Known, seed: int = 0, limit: float = 0.0) -> Excess:
    """The excess (mean unlearned - mean control) / (mean base - mean control_base), and its bootstrap interval.

    Facts are resampled, pairs together (Efron and Tibshirani 1993, chapter 8); numerator and denominator in the same
    resample, since they share facts. Facts of one group are drawn together, all or none (Davison and Hinkley 1997,
    section 3.8): a resample is as many groups as there are, and its mean is over the facts in them. Limits are widened
    as Student's distribution requires for small samples, of facts or of groups (Hesterberg 2015).

    Args:
        limit: the share that p-values test. That mean(u) - mean(c) exceeds limit * (mean(b) - mean(c0)) is tested of
            the means of u - limit * b and c - limit * c0, so that no division is needed.
    """
    u, c, b, c0 = (np.asarray(v, np.float64) for v in (known.unlearned, known.control, known.base, known.control_base))
    if known.paired and len(u) != len(c):
        raise ValueError(f"paired values need equal lengths, got {len(u)} and {len(c)}")
    if min(len(u), len(c)) < 2:
        raise ValueError("an excess needs at least two facts")
    own, other = _groups(known.groups, len(u)), _groups(known.control_groups, len(c))
    of_unlearned = _resamples(own, seed)
    of_control = of_unlearned if known.paired else _resamples(other, seed + 1)
    points = of_unlearned @ u - of_control @ c
    whole = of_unlearned @ b - of_control @ c0
    point, all_of_it = u.mean() - c.mean(), b.mean() - c0.mean()
    wider = _wider(max(own) + 1 if known.paired else min(max(own), max(other)) + 1)
    share = Estimate(math.nan, math.nan, math.nan)
    if all_of_it > 0:
        # A resample in which the base knows nothing beyond the control allows any share.
        shares = np.where(whole > 0, points / np.where(whole > 0, whole, 1.0), np.copysign(np.inf, points))
        share = _limits(point / all_of_it, shares, wider)
    together = (own, other)
    more, _ = p_values(u - limit * b, c - limit * c0, known.paired, together)
    _, less = p_values(u + limit * b, c + limit * c0, known.paired, together)
    return Excess(share=share, points=_limits(point, points, wider), p=more, p_less=less, n=min(len(u), len(c)))


def p_values(
    unlearned: np.ndarray, control: np.ndarray, paired: bool, groups: tuple[Groups, Groups] | None = None
) -> tuple[float, float]:
    """One-sided p-values of equal knowledge: against more than the control, and against less (Student, or Welch 1947).

    Args:
        groups: groups of values on either side; the error of a mean is then that of `mean_variance`.
    """
    both = groups or (_groups(None, len(unlearned)), _groups(None, len(control)))
    t, degrees = _student(unlearned, control, paired, both)
    return _tail(t, degrees), _tail(-t, degrees)


def knows_more(known: Known, seed: int = 0) -> bool:
    """Whether the base model knows more than the control at the 5 % level: else there is no forgetting to measure."""
    base = Known(
        unlearned=known.base,
        control=known.control_base,
        base=known.base,
        control_base=known.control_base,
        paired=known.paired,
        groups=known.groups,
        control_groups=known.control_groups,
    )
    return excess(base, seed).points.low > 0


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979, Scandinavian Journal of Statistics 6, 65)."""
    order = np.argsort(p_values, kind="stable")
    adjusted, highest = [0.0] * len(order), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * float(p_values[at])))
        adjusted[int(at)] = highest
    return adjusted


def facts_beyond(unlearned: Sequence[float], control: Sequence[float], rate: float = 0.1) -> list[int]:
    """Numbers of the facts known beyond the control, at most a share `rate` of them falsely, in expectation.

    The differences of a model that knows as much as the control are as often below 0 as above: facts at or above the
    smallest threshold t count for which (1 + #{d <= -t}) / #{d >= t} <= rate (the knockoff+ filter of Barber and Candès
    2015, Annals of Statistics 43, equation 1.9). With a rate of 0.1 it finds none or at least ten.
    """
    d = np.asarray(unlearned, np.float64) - np.asarray(control, np.float64)
    for threshold in np.sort(d[d > 0]):
        found = d >= threshold
        if (1 + (d <= -threshold).sum()) / found.sum() <= rate:
            return [int(i) for i in np.flatnonzero(found)]
    return []


def _groups(given: Sequence[int] | None, n: int) -> Groups:
    """(n,) numbers of groups from 0 on; each value alone if none are given.

    Raises:
        ValueError: other than n, or all in one group.
    """
    if given is None:
        return tuple(range(n))
    if len(given) != n:
        raise ValueError(f"{n} values need as many groups, got {len(given)}")
    found = tuple(int(each) for each in np.unique(np.asarray(given), return_inverse=True)[1].reshape(-1))
    if max(found) < 1:
        raise ValueError("an excess needs at least two groups of facts")
    return found


@lru_cache(maxsize=8)
def _resamples(groups: Groups, seed: int) -> np.ndarray:
    """(RESAMPLES, facts) the weight of each fact in each resample; the same for all attacks of an audit."""
    number = max(groups) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), RESAMPLES)
    weights = drawn[:, list(groups)]
    return np.asarray(weights / weights.sum(1, keepdims=True))


def _limits(value: float, resamples: np.ndarray, wider: float) -> Estimate:
    low, high = np.percentile(resamples, [2.5, 97.5], method="nearest")
    return Estimate(float(value), float(value + (low - value) * wider), float(value + (high - value) * wider))


def _wider(n: int) -> float:
    return math.sqrt(n / (n - 1)) * t_quantile(n - 1) / Z


def _student(u: np.ndarray, c: np.ndarray, paired: bool, groups: tuple[Groups, Groups]) -> tuple[float, float]:
    """(t, degrees of freedom) of the difference of means."""
    own, other = max(groups[0]), max(groups[1])
    if paired:
        error, degrees = math.sqrt(mean_variance(u - c, groups[0])), float(own)
    else:
        parts = mean_variance(u, groups[0]), mean_variance(c, groups[1])
        error = math.sqrt(sum(parts))
        below = parts[0] ** 2 / own + parts[1] ** 2 / other
        degrees = sum(parts) ** 2 / below if below > 0 else 1.0
    difference = float(u.mean() - c.mean())
    if error < 1e-12:
        return (0.0 if abs(difference) < 1e-12 else math.copysign(math.inf, difference)), degrees
    return difference / error, degrees


def _tail(t: float, degrees: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(degrees, -t))
