"""Uncertainty of forgetting quality: over the trained models, and over the forget examples.

Epsilon is a maximum over attacks, and F the mean of a step function of it. Drawing models with replacement makes ties,
on which attacks do better, so such draws of F lie far below F. Instead each draw takes half of the models without
replacement, for which the spread of the draws is that of the whole set (the delete-half jackknife: Shao and Wu 1989,
Annals of Statistics 17, 1176; Politis, Romano and Wolf 1999). A half's F lies elsewhere than F itself, so only the
deviation from the mean of the draws is used.

The error of F has two parts: which examples are in the forget set, and what all examples share because they are seen by
the same models. The spread between examples holds each one's own error of the models already. So of the deviation over
halves only the part that is common to different examples is added, or it would count twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.measures.privacy.thresholds import (
    CAP,
    Attacks,
    attack_epsilons,
    counts_below,
    find_attacks,
    is_narrow,
    points,
)

BLOCK = 4_000_000
"attacks x draws at a time: bounds memory to about 100 MB"


def halves(models: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """(resamples, models) which models are in a half of them, rounded up, drawn without replacement."""
    order = generator.random((resamples, models)).argsort(1)
    return np.asarray(order < (models + 1) // 2)


def _half_counts(attacks: Attacks, values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(resamples, D + 1) of `counts_below` for the chosen values alone."""
    size = len(attacks.distinct)
    place = np.zeros((len(values), size + 1), np.float32)
    place[np.arange(len(values)), np.searchsorted(attacks.distinct, values) + 1] = 1
    return np.cumsum(chosen.astype(np.float32) @ place, axis=1).astype(np.intp)


def _half_epsilons(
    attacks: Attacks, u: np.ndarray, r: np.ndarray, unlearned_halves: np.ndarray, retrained_halves: np.ndarray
) -> np.ndarray:
    """(resamples,) epsilon of halves, with the attacks that the whole sets admit."""
    below = _half_counts(attacks, u, unlearned_halves), _half_counts(attacks, r, retrained_halves)
    rows = max(1, BLOCK // max(1, len(attacks.low)))
    parts = [
        attack_epsilons(attacks, below[0][start : start + rows], below[1][start : start + rows])
        for start in range(0, len(unlearned_halves), rows)
    ]
    return np.minimum(np.concatenate(parts), CAP)


@dataclass(frozen=True, slots=True)
class Quality:
    """Forgetting quality with its draws (resamples,) and the epsilons (examples,) it is made of."""

    value: float
    draws: np.ndarray
    epsilons: np.ndarray

    @classmethod
    def of(
        cls,
        unlearned: np.ndarray,
        retrained: np.ndarray,
        bins: int,
        unlearned_halves: np.ndarray,
        retrained_halves: np.ndarray,
        chosen: np.ndarray,
    ) -> Quality:
        """F of confidences (examples, N) and (examples, M).

        Args:
            unlearned_halves: (resamples, N), see `halves`; `retrained_halves` (resamples, M).
            chosen: (resamples, examples) indices of resampled examples.
        """
        epsilons = np.full(len(unlearned), CAP)
        half = np.full((len(unlearned), len(chosen)), CAP)
        for number, (u, r) in enumerate(zip(unlearned, retrained, strict=True)):
            if is_narrow(u, r):
                continue
            attacks = find_attacks(u, r)
            whole = attack_epsilons(attacks, counts_below(attacks, u), counts_below(attacks, r))
            epsilons[number] = min(float(whole), CAP)
            half[number] = _half_epsilons(attacks, u, r, unlearned_halves, retrained_halves)
        earned = points(epsilons, bins)
        value = float(earned.mean())
        draws = earned[chosen].mean(1) + _common_deviation(points(half, bins))
        return cls(value, np.clip(draws, 0.0, 1.0), epsilons)


def _common_deviation(half: np.ndarray) -> np.ndarray:
    """(resamples,) deviation of F over halves, scaled to the covariance between different examples."""
    examples = len(half)
    mean = half.mean(0)
    deviation = mean - mean.mean()
    total = deviation.var()
    if examples == 1 or total == 0:
        return np.asarray(deviation)
    own = half.var(1).sum() / examples**2
    common = (total - own) * examples / (examples - 1)
    return np.asarray(deviation * np.sqrt(max(0.0, common) / total))
