"""95 % intervals of means over examples that hold in small samples too; in pairs where two models saw the same examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000
"bootstrap resamples; the 95 % limits then vary by about 1 % of the interval's width"
Z = 1.959963984540054
"97.5 % quantile of the normal distribution"


class Estimate(NamedTuple):
    """A value with the limits of its 95 % interval, in the value's own unit."""

    value: float
    low: float
    high: float


def share_interval(values: Sequence[float]) -> Estimate:
    """Mean of values in [0, 1]; never of width zero.

    Values of 0 and 1 only: Wilson's score interval (Wilson 1927). Other values vary less than those would, so they
    count as more of them: Wilson's interval of the effective number n m (1 - m) / v, with mean m and variance v (Korn
    and Graubard 1998, Franco et al. 2019), but at least n. One example as variable as 0 and 1 are is added to v:
    values that happen to be alike do not show that all are.
    """
    array = _array(values)
    n, mean = len(array), min(1.0, max(0.0, float(array.mean())))  # rounding may leave the range
    if not 0.0 < mean < 1.0:
        return Estimate(mean, *wilson_interval(mean * n, n))
    centre = (mean + Z * Z / (2 * n)) / (1 + Z * Z / n)
    spread = float(((array - mean) ** 2).sum()) * n / max(1, n - 1)
    variance = (spread + centre * (1 - centre)) / n
    effective = max(float(n), n * mean * (1 - mean) / variance)
    return Estimate(mean, *wilson_interval(mean * effective, effective))


def wilson_interval(successes: float, n: float) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927); never of width zero.

    `successes` need not be whole, as of a mean of shares: SciPy's `binomtest` asks for a whole number.
    """
    share = successes / n
    centre = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    # rounding must not put a share of 0 or 1 outside
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def exact_lower_limit(successes: int, n: int) -> float:
    """The share of which this many successes in n, or more, come about in 2.5 % of cases (Clopper and Pearson 1934).

    Against a known chance near 0 this is what a few successes are to be held against: Wilson's interval lies above a
    chance of 3 % after one success in five, which comes about in 14 % of cases.
    """
    from scipy.special import betaincinv

    return float(betaincinv(successes, n - successes + 1, 0.025)) if successes else 0.0


def by_chance(bits: float, n: int = 1) -> float:
    """Probability that n secrets which a model never saw have a mean exposure of this many bits, or more.

    Of one it is 2^-bits, its rank being as likely as any other; of several by Fisher's method, their sum being gamma
    distributed.
    """
    from scipy.special import gammaincc

    return float(gammaincc(n, math.log(2) * bits * n))


def bootstrap_interval(values: Sequence[float], weights: Sequence[float] | None = None, seed: int = 0) -> Estimate:
    """The (weighted) mean of per-example values without bounds, with its bootstrap interval.

    Examples are resampled with replacement together with their weights (Efron and Tibshirani 1993, chapter 13), so
    for token-weighted means the block is the unit of resampling, not the token. In small samples percentile limits
    lie too close, by a factor of z sqrt((n - 1) / n) / t(n - 1) (Hesterberg 2015, American Statistician 69); their
    distance from the mean is divided by it.

    Where all values are equal, as where there is only one, nothing can be said: low and high are the mean.
    """
    array = _array(values)
    weight = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
    array, weight = array[weight > 0], weight[weight > 0]
    mean, n = float((array * weight).sum() / weight.sum()), len(array)
    if np.allclose(array, array[0], rtol=1e-9, atol=1e-12):
        return Estimate(mean, mean, mean)
    low, high = np.percentile(_resampled_means(array, weight, seed), [2.5, 97.5])
    wider = math.sqrt(n / (n - 1)) * t_quantile(n - 1) / Z
    return Estimate(mean, mean + (float(low) - mean) * wider, mean + (float(high) - mean) * wider)


def paired_interval(before: Sequence[float], after: Sequence[float], seed: int = 0) -> Estimate:
    """Mean of `after - before` over the same examples in the same order, as `bootstrap_interval`."""
    return bootstrap_interval(_differences(before, after).tolist(), seed=seed)


def paired_share_interval(before: Sequence[float], after: Sequence[float]) -> Estimate:
    """Mean of `after - before` over the same examples, both in [0, 1]; never of width zero.

    Values of 0 and 1 only: the adjusted Wald interval of Bonett and Price (2012, Journal of Educational and Behavioral
    Statistics 37), which counts one more example in either direction. Other values: Student's interval with one more
    deviation as large as the largest there is, or of 1 where all differences are equal.
    """
    difference = _differences(before, after)
    n, mean = len(difference), float(difference.mean())
    if np.isin(difference, (-1.0, 0.0, 1.0)).all():
        centre = float(difference.sum()) / (n + 2)
        variance = (float(np.abs(difference).sum()) + 2) / (n + 2) - centre * centre
        half = Z * math.sqrt(variance / (n + 2))
    else:
        centre = mean
        largest = float(np.abs(difference - mean).max())
        more = largest if largest > 1e-9 else 1.0
        spread = float(((difference - mean) ** 2).sum()) * n / max(1, n - 1)
        half = t_quantile(max(1, n - 1)) * math.sqrt(spread + more * more) / n
    return Estimate(mean, max(-1.0, centre - half), min(1.0, centre + half))


def difference_interval(one: tuple[float, float, float], other: tuple[float, float, float]) -> Estimate:
    """`one - other` of means of separate examples, each (mean, low, high): the intervals' own arms combined
    (Zou and Donner 2008, method of variance estimates recovery; of Wilson's intervals Newcombe 1998).
    """
    (a, a_low, a_high), (b, b_low, b_high) = one, other
    return Estimate(a - b, a - b - math.hypot(a - a_low, b_high - b), a - b + math.hypot(a_high - a, b - b_low))


def mean_variance(values: np.ndarray, groups: Sequence[int] | None = None) -> float:
    r"""Variance of the mean of (n,) values, of which those of one group go together.

    $$\frac{G}{G - 1} \sum_g \Big(\frac{1}{n} \sum_{i \in g} (x_i - \bar x)\Big)^2$$

    over G groups: the linearised variance of a ratio of sums over clusters (Cochran 1977, Sampling Techniques, section 11.8).
    Without groups it is the sample variance over n. 1 where there are fewer than two groups.
    """
    number = np.arange(len(values)) if groups is None else np.asarray(groups)
    sums = np.bincount(number, weights=values - values.mean()) / len(values)
    count = int((np.bincount(number) > 0).sum())
    return float(count / (count - 1) * (sums**2).sum()) if count > 1 else 1.0


def t_quantile(degrees: int) -> float:
    """97.5 % quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.975))


def _array(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("an interval needs at least one value")
    return array


def _differences(before: Sequence[float], after: Sequence[float]) -> np.ndarray:
    if len(before) != len(after):
        raise ValueError(f"paired values need equal lengths, got {len(before)} and {len(after)}")
    return _array(after) - _array(before)


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
