"""Measures of a classifier's outputs and weights: pure functions of arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError
from expunge.measures.statistics import Estimate, Z, bootstrap_interval, wilson_interval

SHRINK = 2.0
"average examples added to each class when estimating the variance of its share"


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> Estimate:
    """Share of right answers with Wilson's interval (1927). Both (examples,) integers."""
    right = _right(predicted, labels)
    low, high = wilson_interval(int(right.sum()), len(right))
    return Estimate(float(right.mean()), low, high)


def balanced_accuracy(predicted: ArrayLike, labels: ArrayLike) -> Estimate:
    """Mean over the classes that occur in `labels` of the share of right answers (Brodersen et al. 2010).

    The interval (95 %) is Wilson's of the effective number of examples: that of a plain share with the variance of this
    mean (as Korn and Graubard 1998 for surveys; the classes are strata). Variances are of shares drawn towards the mean
    by `SHRINK` examples, as a class with no right prediction, or only right ones, does not show that all would be so.
    """
    right = _right(predicted, labels)
    label = np.asarray(labels)
    classes = np.unique(label)
    hits = np.array([right[label == c].sum() for c in classes])
    totals = np.array([(label == c).sum() for c in classes])
    value = float((hits / totals).mean())
    alike = len(classes) ** 2 / float((1 / totals).sum())  # the effective number if all classes were alike
    centre = (value * alike + Z * Z / 2) / (alike + Z * Z)
    shares = (hits + SHRINK * centre) / (totals + SHRINK)
    variance = float((shares * (1 - shares) / totals).sum()) / len(classes) ** 2
    mean = float(shares.mean())
    effective = max(alike, mean * (1 - mean) / variance)
    return Estimate(value, *wilson_interval(value * effective, effective))


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracies:
    """Accuracies in [0, 1] of one model on the three sets."""

    forget: float
    retain: float
    test: float


def tug_of_war(unlearned: Accuracies, retrained: Accuracies) -> float:
    """ToW = (1 - |dFA|) (1 - |dRA|) (1 - |dTA|) in [0, 1], 1 if all accuracies are those of the retrained model.

    Source: Zhao et al. 2024 (arXiv:2406.01257, section 5).
    """
    return (
        (1 - abs(unlearned.forget - retrained.forget))
        * (1 - abs(unlearned.retain - retrained.retain))
        * (1 - abs(unlearned.test - retrained.test))
    )


def js_divergence(p: ArrayLike, q: ArrayLike) -> np.ndarray:
    """Jensen-Shannon divergence in bits, (...,) in [0, 1], of probabilities (..., classes) (Lin 1991)."""
    a, b = _probabilities(p), _probabilities(q)
    middle = (a + b) / 2
    return np.asarray(np.clip((_kl_bits(a, middle) + _kl_bits(b, middle)) / 2, 0.0, 1.0))


def zrf(outputs: ArrayLike, random_outputs: ArrayLike) -> Estimate:
    """Zero retrain forgetting: 1 - mean JS divergence to a randomly initialised model, over the forget set.

    1: as random as the random model; 0: with no overlap. Best is not 1 but the value of a retrained model. Source:
    Chundawat et al. 2023 (arXiv:2205.08096, section 4); divergence in bits, so that the range is 0 to 1. Not comparable
    with figures that the authors' code prints: it takes both KL divergences the other way round, in nats, and divides
    by examples times classes, which brings everything close to 1.

    Args:
        outputs: (examples, classes) probabilities of the model; `random_outputs` the same of the random one.
    """
    return Estimate(*bootstrap_interval((1 - js_divergence(outputs, random_outputs)).tolist()))


def mean_entropy(outputs: ArrayLike) -> Estimate:
    """Mean entropy in nats of probabilities (examples, classes): 0 certain, log(classes) undecided (Shannon 1948)."""
    p = _probabilities(outputs)
    return Estimate(*bootstrap_interval((-np.log(2) * _times_log2(p, p).sum(-1)).tolist()))


def activation_distance(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Mean L2 distance over examples of two models' outputs (examples, n): probabilities, or features of a layer.

    Source: Golatkar et al. 2021 (arXiv:2012.13431), Chundawat et al. 2023 (arXiv:2205.08096), there of probabilities on
    the forget set against the retrained model. In the unit of the outputs; at most sqrt(2) for probabilities.
    """
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 2 or len(a) == 0:
        raise DataError("Outputs do not match", seen=f"{a.shape} and {b.shape}", allowed="(examples, n), the same")
    return Estimate(*bootstrap_interval(np.linalg.norm(a - b, axis=1).tolist()))


def feature_distance(ours: ArrayLike, theirs: ArrayLike) -> Estimate:
    """Activation distance of a hidden layer (examples, n), over the length of `theirs`: 0 the same, 1 as far as from
    none.

    The length is the root of the mean square over the examples. Features have no fixed axes, so two trainings from
    different random weights are far apart whatever they saw: compare with a model that was not unlearned. `theirs` all
    0: 0 where ours are 0 as well, infinite otherwise.
    """
    found = activation_distance(ours, theirs)
    length = float(np.sqrt((np.asarray(theirs, dtype=np.float64) ** 2).sum(1).mean()))
    if length == 0:
        return found if found.value == 0 else Estimate(*[float("inf")] * 3)
    return Estimate(*(value / length for value in found))


def weight_distance(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """|ours - theirs| / |theirs| over all arrays together (Golatkar et al. 2020, arXiv:1911.04933, there not divided).

    Both have the same names and shapes. 0 / 0 is 0; a change from weights that are all 0 is infinite. Two retrainings
    lie far apart, so a large distance to a retrained model says nothing by itself; a distance of 0 says all.
    """
    change = size = 0.0
    for name, reference in theirs.items():
        a, b = np.asarray(ours[name], dtype=np.float64), np.asarray(reference, dtype=np.float64)
        change, size = change + float(((a - b) ** 2).sum()), size + float((b**2).sum())
    if size == 0:
        return 0.0 if change == 0 else float("inf")
    return float(np.sqrt(change / size))


def _right(predicted: ArrayLike, labels: ArrayLike) -> np.ndarray:
    a, b = np.asarray(predicted), np.asarray(labels)
    if a.shape != b.shape or a.ndim != 1 or len(a) == 0:
        raise DataError("Predictions and labels do not match", seen=f"{a.shape} and {b.shape}", allowed="(examples,)")
    return np.asarray(a == b)


def _probabilities(values: ArrayLike) -> np.ndarray:
    p = np.asarray(values, dtype=np.float64)
    if p.ndim == 0 or p.size == 0 or not (np.all(p >= 0) and np.allclose(p.sum(-1), 1, rtol=0, atol=1e-4)):
        raise DataError(
            "Outputs are not probabilities",
            seen=f"shape {p.shape}" if p.size == 0 else f"shape {p.shape}, {p.min():.3g} to {p.max():.3g}",
            allowed="(..., classes), none negative, each row with sum 1",
            next_step="Take the softmax of logits first.",
        )
    return p


def _times_log2(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """p log2 q, and 0 where p is 0."""
    return np.asarray(p * np.log2(q, out=np.zeros_like(q), where=p > 0))


def _kl_bits(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    return np.asarray((_times_log2(p, p) - _times_log2(p, q)).sum(-1))
