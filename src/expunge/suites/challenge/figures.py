"""The figures of a contest, from its finished models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from expunge.kinds.classifier.measures.classification import Accuracies, tug_of_war
from expunge.kinds.classifier.sets import ImageSets
from expunge.measures.privacy.challenge import Models, challenge
from expunge.measures.privacy.confidence import logit_scaled_confidence
from expunge.measures.privacy.membership import features, membership
from expunge.measures.privacy.ruli import ruli
from expunge.measures.privacy.ulira import ulira
from expunge.measures.statistics import Estimate
from expunge.runs.registry import method_class
from expunge.suites.challenge.models import INDEPENDENT, Group, group_name, read_group
from expunge.suites.challenge.suite import RETRAINED

ESTIMATES = ("forgetting", "retain_ratio", "test_ratio", "score", "share_of_ceiling")
"what a row keeps of `Challenge` with intervals"
ATTACKED = 8
"models whose population attack is averaged: each is a fit of its own"


def contest_figures(
    folder: Path, sets: ImageSets, methods: Mapping[str, dict[str, Any]], models: int, budget: float
) -> dict[str, Any]:
    """{"ceiling": row, "methods": [row, ...], "diverged": [...]}, best score first; a row as in `contest.json`.

    A method with a diverged model is listed as diverged: its score is 0, and it has no figures.
    Every method is compared with the same retrained models; the ceiling is that of the same number of independent ones.
    """
    oracle, independent = (read_group(folder, name, models) for name in (RETRAINED, INDEPENDENT))
    labels = {name: sets.tensors[name].labels.numpy() for name in ("forget", "retain", "test")}
    rows, diverged = [], []
    for name, settings in methods.items():
        place = group_name(name, settings)
        group = read_group(folder, place, models)
        citation = method_class(settings["method"]["name"]).citation()
        about = {"name": name, "citation": citation, "settings": settings, "group": place}
        if group.diverged:
            diverged.append({**about, "models": len(group.diverged), "reason": group.diverged[0]})
        else:
            rows.append({**about, **figures_of(group, oracle, independent, labels, budget)})
    rows.sort(key=lambda row: (-row["score"]["value"], -row["forgetting"]["value"]))
    # The independent oracles' compute is that of retraining: their row is that of a perfect unlearner.
    ceiling = figures_of(independent, oracle, None, labels, np.inf)
    return {
        "models": models,
        "examples": len(labels["forget"]),
        "budget": budget,
        "retrained_accuracy": _means(_accuracies(oracle, labels)),
        "ceiling": {"name": "retrained again", **ceiling},
        "methods": rows,
        "diverged": diverged,
        "classes": list(sets.classes),
        "forget_labels": labels["forget"].tolist(),
    }


def figures_of(
    group: Group, oracle: Group, independent: Group | None, labels: Mapping[str, np.ndarray], budget: float
) -> dict[str, Any]:
    """One method's figures, as JSON values; estimates are {"value", "low", "high"}."""
    ours, theirs = (confidence(each, labels["forget"]) for each in (group, oracle))
    our_accuracies, their_accuracies = (_accuracies(each, labels) for each in (group, oracle))
    compute_share = float(group.share.mean())
    found = challenge(
        Models(ours, our_accuracies["retain"], our_accuracies["test"]),
        Models(theirs, their_accuracies["retain"], their_accuracies["test"]),
        compute_share=compute_share,
        independent=None if independent is None else confidence(independent, labels["forget"]),
        budget=budget,
    )
    accuracy = _means(our_accuracies)
    row: dict[str, Any] = {
        **{name: _estimate(getattr(found, name)) for name in ESTIMATES},
        "compute_share": compute_share,
        "over_budget": found.over_budget,
        "cpu_seconds": float(group.cpu_seconds.mean()),
        "cpu_share": float(group.cpu_seconds.mean() / oracle.cpu_seconds.mean()),
        "epsilons": list(found.epsilons),
        "notes": list(found.notes),
        "accuracy": accuracy,
        "tug_of_war": tug_of_war(Accuracies(**accuracy), Accuracies(**_means(their_accuracies))),
    }
    if min(ours.shape[1], theirs.shape[1]) >= 3:
        attack = ulira(ours, theirs)
        row["ulira"] = {"auc": _estimate(attack.auc), "accuracy": _estimate(attack.accuracy)}
        row["ruli"] = {"auc": _estimate(ruli(ours, theirs).auc)}
    row["membership_auc"] = _population(group, labels)
    return row


def confidence(group: Group, labels: np.ndarray) -> np.ndarray:
    """(pictures, models) logit-scaled confidences on the forget set."""
    return logit_scaled_confidence(group.logits["forget"], np.broadcast_to(labels, group.logits["forget"].shape[:2])).T


def _population(group: Group, labels: Mapping[str, np.ndarray]) -> float | None:
    """Mean area of the population attack over some of the models."""
    if min(len(labels["forget"]), len(labels["test"])) < 4:
        return None
    areas = [
        membership(
            features(group.logits["forget"][model], labels["forget"]),
            features(group.logits["test"][model], labels["test"]),
        ).auc.value
        for model in range(min(ATTACKED, len(group.share)))
    ]
    return float(np.mean(areas))


def _accuracies(group: Group, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """(models,) by split."""
    return {split: (group.logits[split].argmax(-1) == labels[split]).mean(1) for split in labels}


def _means(accuracies: Mapping[str, np.ndarray]) -> dict[str, float]:
    return {split: float(values.mean()) for split, values in accuracies.items()}


def _estimate(found: Estimate | None) -> dict[str, float | None] | None:
    """None for an unknown limit."""
    if found is None:
        return None
    return {name: value if np.isfinite(value) else None for name, value in found._asdict().items()}
