"""What the attacks look at: the logit-scaled confidence of a model in an example's label."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from expunge.errors import DataError

TINY = 1e-45
"keeps both logarithms finite; the confidence then lies within ±103.6 (as the challenge of 2023 has it)"


def softmax(logits: ArrayLike) -> np.ndarray:
    """Probabilities (..., classes) of logits (..., classes), in float64. -inf is allowed: that class has probability 0.

    Raises DataError if a logit is NaN or +inf, or all logits of a row are -inf.
    """
    array = np.asarray(logits, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] < 2:
        raise DataError("Logits need at least two classes", seen=f"shape {array.shape}", allowed="(..., classes)")
    largest = array.max(-1, keepdims=True)
    if not np.all(np.isfinite(largest)):
        raise DataError(
            "Logits are not finite",
            seen=f"{int((~np.isfinite(largest)).sum())} rows with NaN, +inf or nothing but -inf",
            next_step="Look at the model: its training may have diverged.",
        )
    weights = np.exp(array - largest)
    return np.asarray(weights / weights.sum(-1, keepdims=True))


def logit_scaled_confidence(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """phi = log(p_y + 1e-45) - log(sum of p_k over k != y, + 1e-45), natural logarithms, float64.

    Source: the metric of the NeurIPS 2023 unlearning challenge; Carlini et al. 2022 (arXiv:2112.03570, section IV) have
    shown that it is near to normal over trainings, which the probability is not.

    Args:
        logits: (..., classes).
        labels: integers that broadcast to (...,), such as (examples,) for logits (models, examples, classes).

    Returns:
        (...,). A sum of the other classes is taken as such, not as 1 - p_y, so that nothing is lost near p_y = 1.
    """
    probabilities = softmax(logits)
    label = np.asarray(labels)
    classes = probabilities.shape[-1]
    if not np.issubdtype(label.dtype, np.integer):
        raise DataError("Labels are not integers", seen=label.dtype)
    if label.size and (label.min() < 0 or label.max() >= classes):
        raise DataError(
            "A label is out of range", seen=f"{label.min()} to {label.max()}", allowed=f"0 to {classes - 1}"
        )
    index = np.broadcast_to(label, probabilities.shape[:-1])[..., None]
    right = np.take_along_axis(probabilities, index, -1)[..., 0]
    others = probabilities.copy()
    np.put_along_axis(others, index, 0.0, -1)
    return np.asarray(np.log(right + TINY) - np.log(others.sum(-1) + TINY))


def confidences(values: ArrayLike, whose: str, at_least: int = 2) -> np.ndarray:
    """(examples, models) confidences as float64, checked: a finite number for each, from at least this many models."""
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[0] == 0:
        raise DataError(f"Confidences of {whose} have the wrong shape", seen=array.shape, allowed="(examples, models)")
    if array.shape[1] < at_least:
        raise DataError(
            f"Too few models: {whose}",
            seen=array.shape[1],
            allowed=f"at least {at_least}",
            next_step="Train more models with other seeds.",
        )
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise _not_graded(whose, array.dtype)
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        raise DataError(
            f"A confidence of {whose} is not finite",
            seen=f"{array[tuple(bad[0])]} at example {bad[0][0]}, model {bad[0][1]}; {len(bad)} in all",
            next_step="Look at that model: its training may have diverged.",
        )
    return array.astype(np.float64)


def graded_confidences(values: ArrayLike, whose: str, at_least: int = 2) -> np.ndarray:
    """`confidences` for attacks that fit a density: refused if all are 0 or 1.

    Whether an answer was right is not confidence: its variance is often 0, and a density fitted to it says little.
    """
    array = confidences(values, whose, at_least)
    if np.all((array == 0) | (array == 1)):
        raise _not_graded(whose, "zeros and ones")
    return array


def graded_pair(unlearned: ArrayLike, held_out: ArrayLike, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """`graded_confidences` of models that unlearned the examples, and of those that the attack tells them from."""
    u = graded_confidences(unlearned, "unlearned models", at_least)
    o = graded_confidences(held_out, "held-out models", at_least)
    if len(u) != len(o):
        raise DataError("Both groups need the same examples", seen=f"{len(u)} and {len(o)}")
    return u, o


def _not_graded(whose: str, seen: object) -> DataError:
    return DataError(
        f"Confidences of {whose} are not confidences",
        seen=seen,
        allowed="real numbers: log-odds of the label",
        next_step="Make them with logit_scaled_confidence(logits, labels), not from right and wrong answers.",
    )
