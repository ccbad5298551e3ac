"""The verdict on a generator: thresholds fixed in the recipe before the run, each held against the scores after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from expunge.core.score import Score, Which
from expunge.kinds.generator.parts import FORGET_PARTS
from expunge.kinds.generator.recipe import GeneratorVerdict
from expunge.measures.statistics import exact_lower_limit
from expunge.runs.check import Check

Found = Mapping[tuple[str, str, Which], Score]


def judge_generator(
    scores: Sequence[Score],
    verdict: GeneratorVerdict,
    share_of_retraining: float | None,
    chances: Mapping[str, float],
) -> dict[str, Any]:
    """{"passed", "checks"}. What must be kept and what must go is always checked; what was not measured fails.

    Args:
        chances: of identification, by split; of recognition (`group`), where the forgotten are a group without names;
            single pictures of such a group are judged only beside a retrained model.
    """
    found = {(s.measure, s.split, s.model): s for s in scores}

    def values(measure: str, split: str) -> tuple[float, float] | None:
        before, after = (found.get((measure, split, model)) for model in ("base", "unlearned"))
        return None if before is None or after is None else (before.value, after.value)

    checks = []
    pair = values("frechet", "retain_test")
    limit = verdict.retain_frechet
    if pair is None or not pair[0]:
        checks.append(Check("retain_frechet", limit, None, False, "not measured"))
    else:
        ratio = pair[1] / pair[0]
        explain = f"{pair[0]:.4g} before, {pair[1]:.4g} after, on pictures held back"
        checks.append(Check("retain_frechet", limit, ratio, ratio <= limit, explain))
    pair = values("psnr", "retain_test")
    limit = verdict.retain_psnr
    if pair is None:
        checks.append(Check("retain_psnr", limit, None, False, "not measured"))
    else:
        lost = pair[0] - pair[1]
        explain = f"{pair[0]:.2f} dB before, {pair[1]:.2f} dB after, on pictures held back"
        checks.append(Check("retain_psnr", limit, lost, lost <= limit, explain))
    ratios = {split: pair for split in FORGET_PARTS if (pair := values("frechet", split)) and pair[0]}
    limit = verdict.forget_frechet
    if not ratios:
        checks.append(Check("forget_frechet", limit, None, False, "not measured"))
    else:
        least = min(ratios, key=lambda split: ratios[split][1] / ratios[split][0])
        before, after = ratios[least]
        explain = f"{before:.4g} before, {after:.4g} after" + (", on pictures held back" if least != "forget" else "")
        checks.append(Check("forget_frechet", limit, after / before, after / before >= limit, explain))
    checks.append(_recognition_of_group(found, chances["group"]) if "group" in chances else _persons(found, chances))
    beside_retrained = ("identity_recognition", "forget", "retrained") in found
    if "group" in chances and beside_retrained:
        checks.append(_identification(found))
    if share_of_retraining is not None:
        limit = verdict.share_of_retraining
        explain = f"{share_of_retraining:.1%} of the image passes of training the model anew, as the recipe trains one"
        checks.append(Check("share_of_retraining", limit, share_of_retraining, share_of_retraining <= limit, explain))
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}


def _persons(found: Found, chances: Mapping[str, float]) -> Check:
    """The forgotten identified, against chance."""
    limits = {split: chances[split] for split in FORGET_PARTS if split in chances}
    return _recognition(found, ("identity_recognition", "identified"), limits, limits)


def _recognition_of_group(found: Found, chance: float) -> Check:
    """The forgotten without names taken for one of their group, against chance, or the retrained model where that is lower.

    What is shown of a picture is enough to tell it from others even for a model that never saw one of the group. The group
    must have been recognised before.
    """
    measure = "group_recognition"
    before = found.get((measure, "forget", "base"))  # trained on: held back may be few
    if (measure, "forget", "unlearned") in found and (before is None or _low(before) <= chance):
        told = "was not measured" if before is None else f"was taken for it in {before.value:.1%}"
        explain = f"the group cannot be seen to go: the base model {told}, and {chance:.1%} is chance"
        return Check("forget_recognition", chance, None, False, explain)
    limits = {}
    for split in FORGET_PARTS:
        oracle = found.get((measure, split, "retrained"))
        limits[split] = chance if oracle is None else min(chance, oracle.value)
    return _recognition(found, (measure, "taken for the group"), limits, dict.fromkeys(limits, chance))


def _recognition(
    found: Found, measured: tuple[str, str], limits: Mapping[str, float], chances: Mapping[str, float]
) -> Check:
    """Of the splits to forget, the one on which the exact interval lies highest above its limit.

    Args:
        measured: the measure, and what it says of a picture.
        limits, chances: by split.
    """
    name, (measure, done) = "forget_recognition", measured
    scores = {split: found[measure, split, "unlearned"] for split in limits if (measure, split, "unlearned") in found}
    if not scores:
        return Check(name, 0.0, None, False, "not measured")
    worst = max(scores, key=lambda split: _low(scores[split]) - limits[split])
    score, low, limit, chance = scores[worst], _low(scores[worst]), limits[worst], chances[worst]
    explain = (
        f"{round(score.value * score.n)} of {score.n} {done}{_held_back(worst)}: "
        f"{score.value:.1%}; the exact interval reaches down to {low:.1%}; {chance:.1%} is chance"
    )
    if limit < chance:
        explain += f", and the retrained model has {limit:.1%}"
    return Check(name, limit, low, low <= limit, explain)


def _low(score: Score) -> float:
    return exact_lower_limit(round(score.value * score.n), score.n)


def _identification(found: Found) -> Check:
    """Of the splits to forget, the one on which more pictures are identified than by the retrained model, or least fewer."""
    pairs = {}
    for split in FORGET_PARTS:
        ours, theirs = (found.get(("identity_recognition", split, model)) for model in ("unlearned", "retrained"))
        if ours is not None and theirs is not None:
            pairs[split] = (ours, theirs)
    if not pairs:
        return Check("forget_identification", 0.0, None, False, "not measured")
    worst = max(pairs, key=lambda split: pairs[split][0].value - pairs[split][1].value)
    ours, theirs = pairs[worst]
    explain = (
        f"{ours.value:.1%} of {ours.n} identified{_held_back(worst)}; "
        f"{theirs.value:.1%} by the model that never saw one of the group"
    )
    return Check("forget_identification", theirs.value, ours.value, ours.value <= theirs.value, explain)


def _held_back(split: str) -> str:
    return "" if split == "forget" else ", held back"
