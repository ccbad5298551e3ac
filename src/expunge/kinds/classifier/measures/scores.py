"""What is measured of one classifier: its outputs on every split, once, and the scores made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from expunge.core.score import Score, Which
from expunge.errors import DataError
from expunge.kinds.classifier.measures import classification
from expunge.kinds.classifier.measures.declared import DECLARED
from expunge.measures.privacy.confidence import softmax
from expunge.measures.privacy.membership import features, membership
from expunge.measures.statistics import Estimate

SPLITS = ("forget", "retain", "test")
"the splits measured, in the order of the report"
COMPARED = ("forget", "test")
"the splits on which models are compared by their outputs and features"

NO_CLASS = -1
"the prediction where a model's outputs are not numbers"


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Logits (n, classes) and labels (n,) of one model, by split."""

    logits: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    features: Mapping[str, np.ndarray] = field(default_factory=dict)
    "(n, width) inputs of a single network's head, for the splits `COMPARED`; empty for several networks"

    def save(self, path: Path) -> None:
        kinds = {"logits": self.logits, "labels": self.labels, "features": self.features}
        arrays = {f"{kind}_{name}": value for kind, splits in kinds.items() for name, value in splits.items()}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Outputs:
        kinds: dict[str, dict[str, np.ndarray]] = {"logits": {}, "labels": {}, "features": {}}
        with np.load(path, allow_pickle=False) as stored:
            for key in stored.files:
                kind, _, name = key.partition("_")
                kinds[kind][name] = stored[key]
        return cls(**kinds)


def image_scores(
    outputs: Outputs, which: Which, retrained: Outputs | None = None, teacher: Outputs | None = None
) -> list[Score]:
    """Accuracy, entropy, membership attack; with a retrained model the distance to it, with a random one ZRF.

    Args:
        retrained: the oracle's outputs on the same splits.
        teacher: outputs of a model with random weights (the incompetent teacher of ZRF).
    """
    scores: list[Score] = []

    def add(measure: str, split: str, found: Estimate, n: int, examples: np.ndarray | Sequence[float] = ()) -> None:
        scores.append(DECLARED[measure].score(split, which, found, examples, n))

    # A broken model's prediction counts as wrong, and maximally uncertain.
    broken = {name: ~np.isfinite(values).all(1) for name, values in outputs.logits.items()}
    finite = {name: np.where(broken[name][:, None], 0.0, values) for name, values in outputs.logits.items()}
    outputs = replace(outputs, logits=finite)
    for split in SPLITS:
        logits, labels = outputs.logits[split], outputs.labels[split]
        if not len(labels):
            continue
        predicted = np.where(broken[split], NO_CLASS, logits.argmax(1))
        right = (predicted == labels).astype(float)
        add("image_accuracy", split, classification.accuracy(predicted, labels), len(labels), right)
        if split != "forget":
            balanced = classification.balanced_accuracy(predicted, labels)
            add("balanced_accuracy", split, balanced, len(labels))
        add("entropy", split, classification.mean_entropy(softmax(logits)), len(labels))
    forget, test = (features(outputs.logits[name], outputs.labels[name]) for name in ("forget", "test"))
    try:
        attack = membership(forget, test)
    except DataError:  # fewer than four pictures in a group: the report says that it was not measured
        pass
    else:
        add("membership_auc", "forget", attack.auc, len(forget))
        add("membership_tpr", "forget", attack.tpr_1_percent, len(forget))
    if retrained is not None and which != "retrained":
        for split in COMPARED:
            ours, theirs = softmax(outputs.logits[split]), softmax(retrained.logits[split])
            if len(ours):
                distance = classification.activation_distance(ours, theirs)
                add("activation_distance", split, distance, len(ours))
            inner, reference = (each.features.get(split) for each in (outputs, retrained))
            # There is no distance for other widths or NaN weights.
            if inner is None or reference is None or inner.shape != reference.shape or not np.isfinite(inner).all():
                continue
            if len(inner):
                distance = classification.feature_distance(inner, reference)
                add("feature_distance", split, distance, len(inner))
    if teacher is not None:
        found = classification.zrf(softmax(outputs.logits["forget"]), softmax(teacher.logits["forget"]))
        add("zrf", "forget", found, len(forget))
    return scores


def weight_scores(ours: Mapping[str, np.ndarray], which: Which, theirs: Mapping[str, np.ndarray]) -> list[Score]:
    """Distance of a model's weights from the retrained model's; empty if these have another shape or are not finite."""
    shapes = [{name: value.shape for name, value in weights.items()} for weights in (ours, theirs)]
    if shapes[0] != shapes[1] or not all(np.isfinite(value).all() for value in ours.values()):
        return []
    distance = classification.weight_distance(ours, theirs)
    count = sum(value.size for value in ours.values())
    return [DECLARED["weight_distance"].score("weights", which, (distance,) * 3, n=count)]
