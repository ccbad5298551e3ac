"""Measures of a whole model: forget quality, model utility and PrivLeak, with 95 % intervals over examples.

Models are held against each other on the same questions in the same order; a question is resampled with all that is known
of it. Where a method was run with several seeds, a value is the mean over the seeds.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from expunge.measures.statistics import Estimate

RESAMPLES = 1000
"bootstrap resamples"


@dataclass(frozen=True, slots=True)
class ForgetQuality:
    """How well truth ratios fit those of the model that never saw the forget set.

    Attributes:
        p: p-value of the two-sample Kolmogorov-Smirnov test.
        distance: its statistic, the largest distance of the two distribution functions.
    """

    p: Estimate
    distance: Estimate


def ks_distances(one: ArrayLike, other: ArrayLike, weights: ArrayLike) -> np.ndarray:
    r"""(draws,) $\sup_x |F_1(x) - F_2(x)|$ of two samples' distribution functions.

    Args:
        one, other: (n,) each.
        weights: (draws, n) how often each place of both samples counts.
    """
    both, counts = np.concatenate((one, other)).astype(np.float64), np.asarray(weights, dtype=np.float64)
    order = np.argsort(both, kind="stable")
    steps = np.concatenate((counts, -counts), axis=1)[:, order]
    last = np.append(np.diff(both[order]) > 0, True)  # of equal values: the function jumps over all of them at once
    return np.asarray(np.abs(np.cumsum(steps, axis=1)[:, last]).max(1) / counts.sum(1))


@cache
def ks_p_value(steps: int, n: int) -> float:
    """p-value of a distance of steps / n between two samples of n: exact, as SciPy's `ks_2samp` has it."""
    from scipy.stats import ks_2samp

    one = np.arange(n, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where the exact sum just misses 1
        return float(ks_2samp(one, one + (steps - 0.5 if steps else 0.0)).pvalue)  # samples at that very distance


def forget_quality(
    unlearned: ArrayLike, retrained: ArrayLike, seed: int = 0, resamples: int = RESAMPLES
) -> ForgetQuality:
    """Forget quality (TOFU, arXiv:2401.06121, section 2.2.2): the test of the forget set's truth ratios.

    Args:
        unlearned: (seeds, questions) truth ratios or their logarithms: the test is the same for both.
        retrained: (questions,) the same of the retrained model, in the same order.
    """
    ours, theirs = np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)

    def both(weights: Sequence[np.ndarray]) -> np.ndarray:
        n = len(theirs)
        found = np.stack([ks_distances(each, theirs, weights[0]) for each in ours])
        values, where = np.unique(np.rint(found * n).astype(int), return_inverse=True)
        p = np.array([ks_p_value(int(steps), n) for steps in values])[where].reshape(found.shape)
        return np.stack((p.mean(0), found.mean(0)), axis=1)

    p, distance = _resampled(both, [len(theirs)], seed, resamples)
    return ForgetQuality(p, distance)


def model_utility(splits: Sequence[ArrayLike], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    r"""Model utility (TOFU, section 2.2.1): the harmonic mean of nine means, 0 where one of them is.

    $$\frac{9}{\sum_{s, m} 1 / \bar v_{s, m}}$$

    over retain set, real authors and world facts, and for each probability, ROUGE-L recall and truth ratio
    ($\max(0, 1 - R)$).

    Args:
        splits: for each split (seeds, questions, measures); in TOFU three with three each.
    """
    tables = [np.asarray(split, dtype=np.float64) for split in splits]

    def utility(weights: Sequence[np.ndarray]) -> np.ndarray:
        # (draws, seeds, 9) means
        means = np.concatenate([np.einsum("dq,sqm->dsm", own / own.sum(1, keepdims=True), table)
                                for own, table in zip(weights, tables, strict=True)], axis=2)  # fmt: skip
        inverse = np.divide(1.0, means, out=np.full_like(means, np.inf), where=means > 0)
        return np.asarray((means.shape[2] / inverse.sum(2)).mean(1))[:, None]

    (found,) = _resampled(utility, [table.shape[1] for table in tables], seed, resamples)
    return found


def privleak(
    forget: ArrayLike,
    holdout: ArrayLike,
    retrained_forget: ArrayLike,
    retrained_holdout: ArrayLike,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    r"""PrivLeak (MUSE, Shi et al. 2024, arXiv:2407.06460, section 3.2), in per cent: 0 is the retrained model.

    $$100 \cdot \frac{A(f) - A(f_{\mathrm{retrain}})}{A(f_{\mathrm{retrain}})}$$

    with $A$ the probability that a held-out text has a higher min-k score than a forgotten one, ties counting half:
    below 0 the model still takes the forget set for its own, above 0 it gives away that it was pushed from it.

    Args:
        forget, holdout: (seeds, texts) min-k of the unlearned model; the others, (texts,), of the retrained one.
    """
    ours = [np.asarray(values, dtype=np.float64) for values in (forget, holdout)]
    theirs = [np.asarray(values, dtype=np.float64) for values in (retrained_forget, retrained_holdout)]

    def areas(taken: np.ndarray, held: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
        above = (held[:, None] > taken) + 0.5 * (held[:, None] == taken)
        shares = [own / own.sum(1, keepdims=True) for own in weights]
        return np.asarray(np.einsum("dh,ht,dt->d", shares[1], above, shares[0], optimize=True))

    def leak(weights: Sequence[np.ndarray]) -> np.ndarray:
        least = 0.5 / (len(theirs[0]) * len(theirs[1]))
        reference = np.maximum(areas(theirs[0], theirs[1], weights), least)
        mean = np.mean([areas(a, b, weights) for a, b in zip(*ours, strict=True)], axis=0)
        return np.asarray(100 * (mean - reference) / reference)[:, None]

    (found,) = _resampled(leak, [len(values) for values in theirs], seed, resamples)
    return found


def _resampled(
    of: Callable[[Sequence[np.ndarray]], np.ndarray], sizes: Sequence[int], seed: int, resamples: int
) -> list[Estimate]:
    """Values with the 95 % percentiles over resampled questions of each group; limits always hold the value.

    Without resamples the limits are the values.

    Args:
        of: from weights, (draws, questions) of each group, to (draws, values). The first draw has every question once.
        sizes: questions of each group.
    """
    generator = np.random.default_rng(seed)
    weights = [np.concatenate((np.ones((1, size)), generator.multinomial(size, np.full(size, 1 / size), resamples)))
               for size in sizes]  # fmt: skip
    found = of(weights)
    low, high = np.percentile(found, [2.5, 97.5], axis=0)
    limits = zip(found[0], np.minimum(low, found[0]), np.maximum(high, found[0]), strict=True)
    return [Estimate(*map(float, each)) for each in limits]
