"""Membership inference over a population: can a simple classifier distinguish forget examples from unseen ones?

It overestimates safety. One rule is fitted for all examples, from outputs of one model, so examples that leak are
outvoted by those that do not; per-example attacks (U-LiRA, RULI) find more (Hayes et al. 2024, arXiv:2403.01218). An
AUC of 0.5 here is necessary for forgetting and far from sufficient. Say so wherever the figure is shown: `NOTE` does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.privacy.confidence import TINY, softmax
from expunge.measures.privacy.roc import delong, tpr_interval
from expunge.measures.statistics import Estimate

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

NOTE = (
    "An attack on the whole population overestimates safety: it averages over examples, and those that leak most are "
    "not seen. Per-example attacks (U-LiRA, RULI) need many models and find more."
)
FOLDS = 10
RIDGE = 1.0
"L2 penalty on the weights of standardised features, 1/2 RIDGE |w|^2, as is usual for logistic regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """The results of the population attack; `scores_*` are the out-of-fold probabilities of being a forget example."""

    auc: Estimate
    tpr_1_percent: Estimate
    forget_scores: tuple[float, ...] = field(repr=False)
    test_scores: tuple[float, ...] = field(repr=False)


def features(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """(examples, 3): cross-entropy of the label, entropy of the output (both in nats), largest probability.

    Args:
        logits: (examples, classes).
        labels: (examples,) integers.
    """
    p = softmax(logits)
    label = np.asarray(labels)
    if p.ndim != 2 or label.shape != p.shape[:1]:
        raise DataError("Logits and labels do not match", seen=f"{p.shape} and {label.shape}")
    loss = -np.log(p[np.arange(len(p)), label] + TINY)
    entropy = -(p * np.log(p + TINY)).sum(1)
    return np.stack((loss, entropy, p.max(1)), axis=1)


def membership(forget: ArrayLike, test: ArrayLike, seed: int = 0) -> Membership:
    """Logistic regression on features of one model, scored on examples that it was not fitted on.

    Each fold has the same share of both groups; there are fewer than `FOLDS` where a group has fewer examples.

    Source: the challenge's starting kit (loss alone, ten folds) and Shokri et al. 2017 (arXiv:1610.05820).

    Args:
        forget: (examples, features) of the forget set, see `features`; `test`: the same of examples never seen, best of
            the same classes, or the attack finds classes instead of membership.

    Returns AUC with DeLong's interval, and true positives at 1 % false ones with a bootstrap interval; with fewer than
    100 test examples that means no false one. Groups weigh the same in the fit. Raises DataError for fewer than 4.
    """
    x = [np.asarray(values, dtype=np.float64) for values in (forget, test)]
    fewest = min(len(values) for values in x)
    if any(values.ndim != 2 for values in x) or x[0].shape[1] != x[1].shape[1]:
        raise DataError("Features do not match", seen=f"{x[0].shape} and {x[1].shape}", allowed="(examples, features)")
    if fewest < 4:
        raise DataError("Too few examples for an attack", seen=fewest, allowed="at least 4 in each group")
    if not all(np.all(np.isfinite(values)) for values in x):
        raise DataError("Features are not finite", next_step="Look at the model: its training may have diverged.")
    folds = min(FOLDS, fewest)
    generator = np.random.default_rng(seed)
    part = [generator.permutation(np.arange(len(values)) % folds) for values in x]
    scores = [np.empty(len(values)) for values in x]
    for fold in range(folds):
        kept = [values[where != fold] for values, where in zip(x, part, strict=True)]
        rule = _fit(np.concatenate(kept), np.repeat([1.0, 0.0], [len(kept[0]), len(kept[1])]))
        for values, where, found in zip(x, part, scores, strict=True):
            found[where == fold] = rule.predict_proba(values[where == fold])[:, 1]
    return Membership(
        auc=delong(scores[0], scores[1]),
        tpr_1_percent=tpr_interval(scores[0], scores[1], 0.01, seed=seed),
        forget_scores=tuple(scores[0].tolist()),
        test_scores=tuple(scores[1].tolist()),
    )


def _fit(x: np.ndarray, y: np.ndarray) -> Pipeline:
    """The minimum of the penalised, class-balanced log-loss over standardised x (n, features); y (n,) is 1 or 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=1 / RIDGE, class_weight="balanced", solver="newton-cholesky", tol=1e-10)
    return make_pipeline(StandardScaler(), regression).fit(x, y)
