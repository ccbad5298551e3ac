"""Measures of outputs and weights, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.errors import DataError
from expunge.kinds.classifier.measures.classification import (
    Accuracies,
    accuracy,
    activation_distance,
    balanced_accuracy,
    feature_distance,
    js_divergence,
    mean_entropy,
    tug_of_war,
    weight_distance,
    zrf,
)
from expunge.measures.statistics import wilson_interval


def test_accuracy() -> None:
    assert accuracy([0, 1, 2, 2], [0, 1, 1, 2]) == (0.75, *wilson_interval(3, 4))
    assert accuracy([1] * 5, [1] * 5).low < 0.6


def test_balanced_accuracy_counts_classes_alike() -> None:
    """90 of 90 and 1 of 2 right: 0.75, where plain accuracy is 91/92."""
    found = balanced_accuracy([0] * 91 + [1], [0] * 90 + [1, 1])
    assert found.value == 0.75
    assert found.low < 0.6
    assert found.high > 0.9


@pytest.mark.parametrize(
    ("sizes", "chances"),
    [
        ([60, 30, 12], [0.9, 0.7, 0.5]),
        ([4] * 10, [0.2] * 10),
        ([3] * 10, [0.05] * 10),
        ([40, 3, 3, 2, 2, 1, 1], [0.6, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]),
        ([30] * 10, [0.99] * 10),
        ([10, 10], [0.0, 0.4]),
        ([90, 2], [0.95, 0.5]),
    ],
)
def test_balanced_interval_holds_the_truth(sizes: list[int], chances: list[float]) -> None:
    """Many small classes and shares near 0 or 1, where a bootstrap by class or a flat prior holds it far less often."""
    g = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes)
    held = 0
    for _ in range(600):
        predicted = np.where(g.random(len(labels)) < np.array(chances)[labels], labels, 99)
        found = balanced_accuracy(predicted, labels)
        held += found.low <= np.mean(chances) <= found.high
    assert held / 600 >= 0.91


def test_balanced_interval_lies_around_the_value() -> None:
    """Seven of forty right, one of four in seven classes: no end of the interval is the value itself."""
    labels = np.repeat(np.arange(10), 4)
    predicted = np.where((np.arange(40) % 4 == 0) & (labels < 7), labels, 99)
    found = balanced_accuracy(predicted, labels)
    assert found.value == pytest.approx(0.175)
    assert found.low < 0.15 < 0.2 < found.high < 0.35
    everything = balanced_accuracy(labels, labels)
    assert (everything.value, everything.high) == (1.0, 1.0)
    assert 0.85 < everything.low < 0.95
    # of classes of the same size and share the interval is that of plain accuracy
    half = balanced_accuracy([0, 0, 1, 1], [0, 1, 0, 1])
    assert (half.low, half.high) == pytest.approx(wilson_interval(2, 4))


def test_tug_of_war() -> None:
    reference = Accuracies(forget=0.8, retain=1.0, test=0.8)
    assert tug_of_war(reference, reference) == 1
    assert tug_of_war(Accuracies(forget=1.0, retain=0.9, test=0.7), reference) == pytest.approx(0.8 * 0.9 * 0.9)
    assert tug_of_war(Accuracies(forget=0.8, retain=0.0, test=0.8), reference) == 0


def test_divergence() -> None:
    assert js_divergence([0.5, 0.5], [0.5, 0.5]) == 0
    assert js_divergence([1.0, 0.0], [0.0, 1.0]) == 1
    # middle (.75, .25): (log2(1 / .75) + .5 log2(.5 / .75) + .5 log2(.5 / .25)) / 2
    expected = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5) / 2
    assert js_divergence([[1.0, 0.0]], [[0.5, 0.5]])[0] == pytest.approx(expected)
    assert js_divergence([0.5, 0.5], [1.0, 0.0]) == pytest.approx(expected)


def test_zrf() -> None:
    random = np.array([[0.5, 0.5], [0.5, 0.5]])
    assert zrf(random, random).value == 1
    assert zrf([[1.0, 0.0]] * 3, [[0.0, 1.0]] * 3).value == 0
    half = zrf([[0.5, 0.5], [1.0, 0.0]], [[0.5, 0.5], [0.0, 1.0]])
    assert half.value == 0.5
    assert half.low <= 0.5 <= half.high


def test_entropy() -> None:
    assert mean_entropy([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]).value == pytest.approx(np.log(3) / 2)


def test_activation_distance() -> None:
    assert activation_distance([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]).value == pytest.approx(np.sqrt(0.5))


def test_feature_distance_is_in_lengths_of_the_reference() -> None:
    theirs = np.array([[3.0, 4.0], [0.0, 5.0]])
    found = feature_distance([[3.0, 4.0], [0.0, 0.0]], theirs)
    assert found.value == pytest.approx((0 + 5) / 2 / 5)
    assert found.low <= found.value <= found.high
    assert feature_distance(7 * theirs, 7 * theirs).value == 0
    assert feature_distance(np.zeros((2, 2)), theirs).value == pytest.approx(1), "nothing is as far as its length"
    assert feature_distance(np.zeros((2, 2)), np.zeros((2, 2))).value == 0
    assert feature_distance(theirs, np.zeros((2, 2))).value == np.inf


def test_weight_distance() -> None:
    theirs = {"a": np.array([[3.0, 4.0]]), "b": np.zeros(2)}
    ours = {"a": np.array([[3.0, 3.0]]), "b": np.array([0.0, 2.0])}
    assert weight_distance(ours, theirs) == pytest.approx(np.sqrt(1 + 4) / 5)
    assert weight_distance({"b": ours["b"]}, {"b": theirs["b"]}) == float("inf")
    assert weight_distance({"b": theirs["b"]}, {"b": theirs["b"]}) == 0


def test_bad_input_is_named() -> None:
    with pytest.raises(DataError, match="do not match"):
        accuracy([], [])
    with pytest.raises(DataError, match="not probabilities"):
        mean_entropy([[2.0, 1.0]])
    with pytest.raises(DataError, match="do not match"):
        activation_distance([[1.0]], [[1.0, 2.0]])
