"""Logit-scaled confidence."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.errors import DataError
from expunge.measures.privacy.confidence import graded_confidences, logit_scaled_confidence


def test_two_classes_have_the_difference_of_their_logits() -> None:
    assert logit_scaled_confidence([[1.0, 3.0], [0.0, 0.0]], [0, 1]) == pytest.approx([-2.0, 0.0])


def test_worked_by_hand() -> None:
    """p = (.5, .25, .25): log .5 - log .5, and log .25 - log .75."""
    logits = np.log([2.0, 1.0, 1.0])
    assert logit_scaled_confidence([logits, logits + 70], [0, 2]) == pytest.approx([0.0, np.log(1 / 3)])


def test_certainty_is_graded_and_ends_at_103_6() -> None:
    logits = np.array([[50.0, 0.0, 0.0], [60.0, 0.0, 0.0], [5000.0, 0.0, 0.0], [0.0, 5000.0, 0.0]])
    found = logit_scaled_confidence(logits.astype(np.float32), [0, 0, 0, 0])
    assert found[:2] == pytest.approx([50 - np.log(2), 60 - np.log(2)])
    assert found[2:] == pytest.approx([-np.log(1e-45), np.log(1e-45)])
    assert logit_scaled_confidence([[0.0, -np.inf, 0.0]], [1])[0] == pytest.approx(np.log(1e-45))


def test_models_by_examples() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 4, 5))
    labels = np.array([0, 4, 2, 2])
    found = logit_scaled_confidence(logits, labels)
    assert found.shape == (3, 4)
    assert found[1, 3] == pytest.approx(logit_scaled_confidence(logits[1, 3], 2))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([[0.0, np.nan]], [0], "not finite"),
        ([[0.0, np.inf]], [0], "not finite"),
        ([[-np.inf, -np.inf]], [0], "not finite"),
        ([[0.0, 1.0]], [2], "out of range"),
        ([[0.0, 1.0]], [-1], "out of range"),
        ([[0.0, 1.0]], [0.5], "not integers"),
        ([[0.0]], [0], "two classes"),
    ],
)
def test_bad_input_is_named(logits: list, labels: list, message: str) -> None:
    with pytest.raises(DataError, match=message):
        logit_scaled_confidence(logits, labels)


@pytest.mark.parametrize("values", [[[True, False]], [[0, 1]], [[0.0, 1.0]], [["a", "b"]]])
def test_right_and_wrong_is_no_confidence(values: list) -> None:
    with pytest.raises(DataError, match="not confidences"):
        graded_confidences(values, "some models")
