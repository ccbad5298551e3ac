"""Scores made from a classifier's outputs: what they are kept as, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from expunge.kinds.classifier.measures.scores import Outputs, image_scores, weight_scores


def outputs(seed: int = 0, width: int = 6) -> Outputs:
    generator, counts = np.random.default_rng(seed), {"forget": 8, "retain": 12, "test": 8}
    return Outputs(
        {split: generator.normal(size=(count, 3)) for split, count in counts.items()},
        {split: np.arange(count) % 3 for split, count in counts.items()},
        {split: generator.normal(size=(counts[split], width)) for split in ("forget", "test")},
    )


def measures(ours: Outputs, theirs: Outputs) -> set[tuple[str, str]]:
    return {(score.measure, score.split) for score in image_scores(ours, "unlearned", theirs)}


def test_outputs_come_back_as_they_were_kept(tmp_path: Path) -> None:
    ours = outputs()
    ours.save(tmp_path / "outputs.npz")
    back = Outputs.load(tmp_path / "outputs.npz")
    for kind in ("logits", "labels", "features"):
        kept, found = getattr(ours, kind), getattr(back, kind)
        assert kept.keys() == found.keys()
        assert all(np.array_equal(kept[split], found[split]) for split in kept)


def test_features_are_compared_where_they_can_be() -> None:
    ours, theirs = outputs(0), outputs(1)
    features = {("feature_distance", "forget"), ("feature_distance", "test")}
    assert features <= measures(ours, theirs)
    for other in (replace(theirs, features={}), outputs(1, width=5)):
        assert not features & measures(ours, other)
        assert ("activation_distance", "forget") in measures(ours, other)
    broken = replace(ours, features={split: values * np.nan for split, values in ours.features.items()})
    assert not features & measures(broken, theirs)


def test_weights_are_compared_where_they_can_be() -> None:
    ours, theirs = {"a": np.array([3.0, 3.0])}, {"a": np.array([3.0, 4.0])}
    (score,) = weight_scores(ours, "unlearned", theirs)
    assert (score.measure, score.split, score.n) == ("weight_distance", "weights", 2)
    assert score.low == score.value == score.high == pytest.approx(0.2)
    assert weight_scores({"b": ours["a"]}, "unlearned", theirs) == []
    assert weight_scores({"a": np.zeros(3)}, "unlearned", theirs) == []
    assert weight_scores({"a": np.array([3.0, np.nan])}, "unlearned", theirs) == []
