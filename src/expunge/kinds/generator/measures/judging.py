"""Judge recognition of the forget set: against chance, or against what a retrained model gives away.

The record's `chances` hold those of identification, by split, and of recognition (`group`) if the forget set is a group
without names.
"""

from __future__ import annotations

from collections.abc import Mapping

from expunge.core.score import Score
from expunge.measures.statistics import exact_lower_limit
from expunge.runs.check import Case, Check
from expunge.runs.measure import FORGET_SPLITS


def recognition(case: Case) -> Check | None:
    """Recognition of the forget set: as persons, or, without names, as one of their group."""
    chances: Mapping[str, float] = case.record["chances"]
    if "group" in chances:
        return _of_group(case, chances["group"])
    limits = {split: chances[split] for split in FORGET_SPLITS if split in chances}
    return _recognition(case, ("identity_recognition", "identified"), limits, limits)


def _of_group(case: Case, chance: float) -> Check | None:
    """Recognition of the group without names, against chance, or the retrained model if that is lower.

    What is shown of a picture is enough to identify it even for a model that never saw the group. The group
    must have been recognised before.
    """
    measure = "group_recognition"
    before = case.score(measure, "forget", "base")  # the training split: held back may be few
    if case.score(measure, "forget", "unlearned") is not None and (before is None or _low(before) <= chance):
        before_words = "was not measured" if before is None else f"was taken for it in {before.value:.1%}"
        explain = f"forgetting of the group cannot be shown: the base model {before_words}, and {chance:.1%} is chance"
        return Check(case.name, chance, None, False, explain)
    limits = {}
    for split in FORGET_SPLITS:
        oracle = case.score(measure, split, "retrained")
        limits[split] = chance if oracle is None else min(chance, oracle.value)
    return _recognition(case, (measure, "taken for the group"), limits, dict.fromkeys(limits, chance))


def _recognition(
    case: Case, measured: tuple[str, str], limits: Mapping[str, float], chances: Mapping[str, float]
) -> Check:
    """Judge the forget split on which the exact interval lies highest above its limit.
    `measured`: the measure, and its value for a picture; `limits`, `chances`: by split."""
    measure, done = measured
    every = {split: case.score(measure, split, "unlearned") for split in limits}
    scores = {split: score for split, score in every.items() if score is not None}
    if not scores:
        return Check(case.name, 0.0, None, False, "not measured")
    worst = max(scores, key=lambda split: _low(scores[split]) - limits[split])
    score, low, limit, chance = scores[worst], _low(scores[worst]), limits[worst], chances[worst]
    explain = (
        f"{round(score.value * score.n)} of {score.n} {done}{_held_back(worst)}: "
        f"{score.value:.1%}; the exact interval reaches down to {low:.1%}; {chance:.1%} is chance"
    )
    if limit < chance:
        explain += f", and the retrained model has {limit:.1%}"
    return Check(case.name, limit, low, low <= limit, explain)


def _low(score: Score) -> float:
    return exact_lower_limit(round(score.value * score.n), score.n)


def identification(case: Case) -> Check | None:
    """Judge a group without names on the split with the largest excess of identified pictures over the retrained model.

    There is no check without that model.
    """
    measure = "identity_recognition"
    if "group" not in case.record["chances"] or case.score(measure, "forget", "retrained") is None:
        return None
    pairs = {}
    for split in FORGET_SPLITS:
        ours, theirs = (case.score(measure, split, model) for model in ("unlearned", "retrained"))
        if ours is not None and theirs is not None:
            pairs[split] = (ours, theirs)
    if not pairs:
        return Check(case.name, 0.0, None, False, "not measured")
    worst = max(pairs, key=lambda split: pairs[split][0].value - pairs[split][1].value)
    ours, theirs = pairs[worst]
    explain = (
        f"{ours.value:.1%} of {ours.n} identified{_held_back(worst)}; "
        f"{theirs.value:.1%} by the model that never saw one of the group"
    )
    return Check(case.name, theirs.value, ours.value, ours.value <= theirs.value, explain)


def _held_back(split: str) -> str:
    return "" if split == "forget" else ", held back"
