"""Measures of a whole model: forget quality, model utility and PrivLeak, with 95 % intervals over examples.

Models are compared on the same questions in the same order; a question is resampled with all its
values. If a method was run with several seeds, a value is the mean over the seeds; of forget quality, that of the seed
that is farthest from the retrained model: the mean of p-values is not a p-value.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expunge.measures.statistics import Estimate

RESAMPLES = 1000
"bootstrap resamples"


@dataclass(frozen=True, slots=True)
class ForgetQuality:
    """Agreement of truth ratios with those of the model that never saw the forget set.

    Attributes:
        p: the least p-value of the seeds, by the two-sample Kolmogorov-Smirnov test; it has no interval.
        distance: its statistic, the largest distance of the two distribution functions, of the same seed.
    """

    p: float
    distance: Estimate


def forget_quality(unlearned: ArrayLike, retrained: ArrayLike) -> ForgetQuality:
    r"""Forget quality (TOFU, arXiv:2401.06121, section 2.2.2): the test of the forget set's truth ratios.

    The p-value is exact, as SciPy's `ks_2samp` has it. The interval of the distance supposes nothing of the
    distributions. Each of the k + 1 empirical distribution functions of n questions is within $\varepsilon$ of its own
    but for a chance of $2 e^{-2 n \varepsilon^2}$ (Dvoretzky, Kiefer and Wolfowitz 1956, with Massart's constant,
    1990), and a distance of two is then within $2 \varepsilon$. All are, but for 5 %, with

    $$\varepsilon = \sqrt{\frac{\ln (2 (k + 1) / 0.05)}{2 n}}$$

    also where the models' answers to a question depend on each other. (A bootstrap will not do: the distance of
    resampled functions is larger than that of the samples, the most where the two are equal.)

    Args:
        unlearned: (k seeds, n questions) truth ratios or their logarithms: the test is the same for both.
        retrained: (n questions,) the same of the retrained model.
    """
    from scipy.stats import ks_2samp

    ours, theirs = np.asarray(unlearned, dtype=np.float64), np.asarray(retrained, dtype=np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where the exact sum just misses 1
        tests = [ks_2samp(each, theirs) for each in ours]
    farthest = max(float(test.statistic) for test in tests)
    reach = 2 * math.sqrt(math.log(2 * (len(ours) + 1) / 0.05) / (2 * len(theirs)))
    limits = max(0.0, farthest - reach), min(1.0, farthest + reach)
    return ForgetQuality(min(float(test.pvalue) for test in tests), Estimate(farthest, *limits))


def model_utility(splits: Sequence[ArrayLike], seed: int = 0, resamples: int = RESAMPLES) -> Estimate:
    r"""Model utility (TOFU, section 2.2.1): the harmonic mean of nine means, 0 if one of them is.

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
