"""What is measured of one classifier: its outputs on every split, once, and the scores made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expunge.errors import DataError
from expunge.measures import classification
from expunge.measures.estimate import Estimate
from expunge.measures.privacy.confidence import softmax
from expunge.measures.privacy.membership import features, membership
from expunge.measures.score import Score, Which

SPLITS = ("forget", "retain", "test")
"the splits measured, in the order of the report"

NO_CLASS = -1
"the prediction where a model's outputs are no numbers"


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """Logits (n, classes) and labels (n,) of one model, by split."""

    logits: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]

    def save(self, path: Path) -> None:
        arrays = {f"logits_{name}": value for name, value in self.logits.items()}
        np.savez(path, allow_pickle=False, **arrays, **{f"labels_{name}": value for name, value in self.labels.items()})

    @classmethod
    def load(cls, path: Path) -> Outputs:
        with np.load(path, allow_pickle=False) as stored:
            names = [key.removeprefix("logits_") for key in stored.files if key.startswith("logits_")]
            return cls({n: stored[f"logits_{n}"] for n in names}, {n: stored[f"labels_{n}"] for n in names})


def image_scores(
    outputs: Outputs, which: Which, retrained: Outputs | None = None, teacher: Outputs | None = None
) -> list[Score]:
    """Accuracy, entropy, membership attack; with a retrained model the distance to it, with a random one ZRF.

    Args:
        retrained: the oracle's outputs on the same splits.
        teacher: outputs of a model with random weights (the incompetent teacher of ZRF).
    """
    scores: list[Score] = []

    def add(
        measure: str, split: str, found: Estimate, n: int, better: bool, unit: str, examples: np.ndarray | None = None
    ) -> None:
        scores.append(
            Score(
                measure=measure,
                split=split,
                model=which,
                value=found.value,
                low=found.low,
                high=found.high,
                n=n,
                higher_is="better" if better else "worse",
                unit=unit,
                examples=() if examples is None else tuple(map(float, examples)),
            )
        )

    # A broken model's answer is no answer: wrong, and as unsure as can be.
    broken = {name: ~np.isfinite(values).all(1) for name, values in outputs.logits.items()}
    outputs = Outputs({n: np.where(broken[n][:, None], 0.0, v) for n, v in outputs.logits.items()}, outputs.labels)
    for split in SPLITS:
        logits, labels = outputs.logits[split], outputs.labels[split]
        if not len(labels):
            continue
        predicted = np.where(broken[split], NO_CLASS, logits.argmax(1))
        right = (predicted == labels).astype(float)
        add(
            "image_accuracy",
            split,
            classification.accuracy(predicted, labels),
            len(labels),
            split != "forget",
            "share",
            right,
        )
        if split != "forget":
            balanced = classification.balanced_accuracy(predicted, labels)
            add("balanced_accuracy", split, balanced, len(labels), True, "share")
        add("entropy", split, classification.mean_entropy(softmax(logits)), len(labels), split == "forget", "nats")
    forget, test = (features(outputs.logits[name], outputs.labels[name]) for name in ("forget", "test"))
    try:
        attack = membership(forget, test)
    except DataError:  # fewer than four pictures in a group: the report says that it was not measured
        pass
    else:
        add("membership_auc", "forget", attack.auc, len(forget), False, "area under the curve")
        add("membership_tpr", "forget", attack.tpr_1_percent, len(forget), False, "share")
    if retrained is not None and which != "retrained":
        for split in ("forget", "test"):
            ours, theirs = softmax(outputs.logits[split]), softmax(retrained.logits[split])
            if len(ours):
                add(
                    "activation_distance",
                    split,
                    classification.activation_distance(ours, theirs),
                    len(ours),
                    False,
                    "distance",
                )
    if teacher is not None:
        found = classification.zrf(softmax(outputs.logits["forget"]), softmax(teacher.logits["forget"]))
        add("zrf", "forget", found, len(forget), True, "share")
    return scores
