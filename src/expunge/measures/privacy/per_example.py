"""Results of a per-example attack over all examples and models, with intervals over examples."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from expunge.measures.privacy.roc import WeightedCurve
from expunge.measures.statistics import Estimate

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class PerExampleAttack:
    """Results of an attack on every example with models that unlearned it (or in another state) and others.

    `accuracy` is the share of right guesses, both groups counting half: 0.5 is chance. `auc`, `tpr_1_percent` and
    `tpr_1_permille` (true positives at 1 % and 0.1 % false ones) pool the scores of all examples. Intervals (95 %)
    resample examples, each with all its models. `examples` are the accuracies of the examples, in their order: those
    that leak most are largest.
    """

    accuracy: Estimate
    auc: Estimate
    tpr_1_percent: Estimate
    tpr_1_permille: Estimate
    examples: tuple[float, ...] = field(repr=False)


def summarise(positive: np.ndarray, negative: np.ndarray, seed: int) -> PerExampleAttack:
    """Sums up log-odds (examples, N) of one group and (examples, M) of the other; above 0 is called positive.

    Log-odds of 0 count as half right, so an attack that knows nothing has accuracy 0.5.
    """
    guessed = [(scores > 0) + 0.5 * (scores == 0) for scores in (positive, negative)]
    accuracies = (guessed[0].mean(1) + 1 - guessed[1].mean(1)) / 2
    examples = len(positive)
    scores = np.concatenate((positive.ravel(), negative.ravel()))
    labels = np.arange(len(scores)) < positive.size
    owner = np.concatenate([np.repeat(np.arange(examples), group.shape[1]) for group in (positive, negative)])
    curve = WeightedCurve(scores, labels)
    fprs = (0.01, 0.001)
    values = np.array([accuracies.mean(), *curve.area_and_rates(np.ones(len(scores)), fprs)])
    generator = np.random.default_rng(seed)
    draws = np.empty((RESAMPLES, 4))
    for number in range(RESAMPLES):
        times = np.bincount(generator.integers(0, examples, examples), minlength=examples)
        draws[number] = (times @ accuracies / examples, *curve.area_and_rates(times[owner], fprs))
    low, high = np.percentile(draws, [2.5, 97.5], axis=0) if examples > 1 else (np.zeros(4), np.ones(4))
    intervals = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    accuracy, auc, tpr_1_percent, tpr_1_permille = (Estimate(*found) for found in intervals)
    return PerExampleAttack(accuracy, auc, tpr_1_percent, tpr_1_permille, tuple(accuracies.tolist()))
