"""Forgetting quality and score of the NeurIPS 2023 unlearning challenge, with their uncertainty.

The score of a perfect unlearner is far from 1: two sets of models trained alike, without the forget set, reach about
0.17, since the largest of 160,000 attacks always finds something. So F is given together with its ceiling, the F of
such a set, and as a share of it.

Source: the metric's published text and google-deepmind/unlearning_evaluation; Triantafillou et al. 2024
(arXiv:2406.09073).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.privacy.confidence import confidences
from expunge.measures.privacy.resampling import Quality, halves
from expunge.measures.privacy.thresholds import epsilon_of, points
from expunge.measures.statistics import Estimate

RESAMPLES = 400
BUDGET = 0.2
"share of retraining's compute that the contest allowed"
ENOUGH = 8
"models of each kind below which no interval is made: halves of fewer than 4 are not informative"


def epsilons(unlearned: ArrayLike, retrained: ArrayLike) -> np.ndarray:
    """(examples,) the epsilon in [0, 50] of the best attack between N unlearned and M retrained models.

    The attacks and their grids: `expunge.measures.privacy.thresholds`. 50 stands for sets that are separated without
    an error and for sets of which one has less than 1 % of the other's range. 0 where no attack is left, on which the
    published code ends in an error: two equal constants, for example.

    Args:
        unlearned: (examples, N) logit-scaled confidences, N at least 2.
        retrained: (examples, M); the challenge has M = N.

    Raises:
        DataError: they are not confidences, or of other examples.
    """
    u, r = _pair(unlearned, retrained)
    return np.array([epsilon_of(a, b) for a, b in zip(u, r, strict=True)])


def default_bins(models: int) -> int:
    """Bins of the published code: those of width .5 up to ceil(ln(models - 1)); 14 for 512 models, none for 2.

    The text of the metric has 13 for 512 models.
    """
    return 2 * int(np.ceil(np.log(models - 1))) if models > 1 else 0


def forgetting_quality(epsilons: ArrayLike, bins: int) -> float:
    """F: the mean over forget examples of `points`."""
    return float(points(epsilons, bins).mean())


@dataclass(frozen=True, slots=True)
class Models:
    """Outputs of N models of one kind.

    Attributes:
        confidences: (examples, N) in the labels of the forget examples, logit-scaled.
        retain, test: (N,) accuracies on these sets, in [0, 1].
    """

    confidences: ArrayLike
    retain: ArrayLike
    test: ArrayLike


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """The contest's figures of one unlearning method on one forget set.

    `forgetting` is F, `retain_ratio` and `test_ratio` the mean accuracies of the unlearned models over those of the
    retrained ones (not clipped at 1, as in the contest), `score` the product F x RA x TA, and 0 over budget. `ceiling`
    is the F of independently retrained models and `share_of_ceiling` F over it. `epsilons` are those of the examples,
    in their order. `notes` are caveats in words.
    """

    forgetting: Estimate
    retain_ratio: Estimate
    test_ratio: Estimate
    over_budget: bool
    score: Estimate
    ceiling: Estimate | None
    share_of_ceiling: Estimate | None
    notes: tuple[str, ...]
    epsilons: tuple[float, ...] = field(repr=False)


def challenge(
    unlearned: Models,
    retrained: Models,
    *,
    compute_share: float,
    independent: ArrayLike | None = None,
    budget: float = BUDGET,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Challenge:
    """The contest's figures with 95 % intervals over models and examples.

    The intervals are bootstrap intervals: examples are resampled with replacement, models as halves drawn without
    (a model drawn twice would be a tie, and ties change epsilon); see `expunge.measures.privacy.resampling`. F, its
    ceiling and their ratio share the resampled examples and retrained models, so the ratio is paired.

    Args:
        unlearned: N models; retrained: M trained without the forget examples, N in the contest.
        compute_share: mean compute of an unlearning over that of a retraining.
        independent: (examples, K) confidences of K further models trained without them, for the ceiling; best K = N.
    """
    u, r = _pair(unlearned.confidences, retrained.confidences)
    i = None if independent is None else _pair(independent, r, "independently retrained models")[0]
    smallest = min(u.shape[1], r.shape[1], *([] if i is None else [i.shape[1]]))
    bins = default_bins(smallest)
    generator = np.random.default_rng(seed)
    examples = len(u)
    chosen = generator.integers(0, examples, (resamples, examples))
    retrained_halves = halves(r.shape[1], resamples, generator)
    ours = Quality.of(u, r, bins, halves(u.shape[1], resamples, generator), retrained_halves, chosen)
    known = smallest >= ENOUGH
    ceiling = share = None
    if i is not None:
        oracle = Quality.of(i, r, bins, halves(i.shape[1], resamples, generator), retrained_halves, chosen)
        ceiling = _limits(oracle.value, oracle.draws, known, 1.0)
        share = _ratio(ours.value, oracle.value, ours.draws, oracle.draws, known)
    models = (u.shape[1], r.shape[1])
    retain, retain_draws = _accuracy_ratio("retain", (unlearned.retain, retrained.retain), models, resamples, generator)
    test, test_draws = _accuracy_ratio("test", (unlearned.test, retrained.test), models, resamples, generator)
    over = compute_share > budget
    score = Estimate(0.0, 0.0, 0.0)
    if not over:
        value = ours.value * retain.value * test.value
        score = _limits(value, ours.draws * retain_draws * test_draws, known, np.inf)
    return Challenge(
        forgetting=_limits(ours.value, ours.draws, known, 1.0),
        retain_ratio=retain,
        test_ratio=test,
        over_budget=over,
        score=score,
        ceiling=ceiling,
        share_of_ceiling=share,
        notes=_notes(u, r, i, over, compute_share, budget, known),
        epsilons=tuple(ours.epsilons.tolist()),
    )


def _notes(
    u: np.ndarray, r: np.ndarray, i: np.ndarray | None, over: bool, compute_share: float, budget: float, known: bool
) -> tuple[str, ...]:
    notes = []
    if over:
        notes.append(f"Over budget: {compute_share:.1%} of retraining's compute, {budget:.0%} allowed; the score is 0.")
    if not known:
        notes.append(f"Fewer than {ENOUGH} models of a kind: the intervals of F cover every possible value.")
    if i is None:
        notes.append("No independently retrained models: the distance of F from a perfect unlearner's is unknown.")
    elif i.shape[1] != u.shape[1]:
        notes.append(f"The ceiling is of {i.shape[1]} models and F of {u.shape[1]}: F depends on that number.")
    if u.shape[1] != r.shape[1]:
        notes.append(f"{u.shape[1]} unlearned and {r.shape[1]} retrained models; the contest has as many of both.")
    return tuple(notes)


def _pair(unlearned: ArrayLike, retrained: ArrayLike, whose: str = "unlearned models") -> tuple[np.ndarray, np.ndarray]:
    u, r = confidences(unlearned, whose), confidences(retrained, "retrained models")
    if len(u) != len(r):
        raise DataError(
            f"The {whose} and the retrained models do not have the same examples",
            seen=f"{len(u)} and {len(r)} examples",
        )
    return u, r


def _limits(value: float, draws: np.ndarray, known: bool, largest: float) -> Estimate:
    """With the 2.5 and 97.5 percentiles of its draws; 0 and the largest where too few models make them worthless."""
    if not known:
        return Estimate(value, 0.0, largest)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def _ratio(above: float, below: float, a: np.ndarray, b: np.ndarray, known: bool) -> Estimate:
    """above / below; infinite limits where the draws of the lower one reach 0."""
    if below == 0:
        return Estimate(np.nan, 0.0, np.inf)
    draws = np.divide(a, b, out=np.full(len(a), np.inf), where=b > 0)
    low, high = np.percentile(draws, [2.5, 97.5], method="nearest")
    return Estimate(above / below, float(low), float(high)) if known else Estimate(above / below, 0.0, np.inf)


def _accuracy_ratio(
    which: str,
    accuracies: tuple[ArrayLike, ArrayLike],
    numbers: tuple[int, int],
    resamples: int,
    generator: np.random.Generator,
) -> tuple[Estimate, np.ndarray]:
    """Ratio of mean accuracies, bootstrapped over models, and its draws."""
    means, draws = [], []
    for values, models in zip(accuracies, numbers, strict=True):
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (models,) or not np.all((array >= 0) & (array <= 1)):
            raise DataError(
                f"The {which} accuracies do not match",
                seen=f"shape {array.shape}, {array.min(initial=np.inf):.3g} to {array.max(initial=-np.inf):.3g}",
                allowed=f"one for each of {models} models, from 0 to 1",
            )
        means.append(float(array.mean()))
        draws.append(array[generator.integers(0, models, (resamples, models))].mean(1))
    if means[1] == 0:
        raise DataError(
            f"The retrained models have a {which} accuracy of 0", next_step="Look at their training and the labels."
        )
    ratio = np.divide(draws[0], draws[1], out=np.full(resamples, np.inf), where=draws[1] > 0)
    return _limits(means[0] / means[1], ratio, True, np.inf), ratio
