"""The verdict on a classifier: thresholds fixed in the recipe before the run, each held against the scores after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from expunge.core.score import Score, Which
from expunge.kinds.classifier.recipe import ImageVerdict
from expunge.runs.check import Check


def judge_images(
    scores: Sequence[Score],
    verdict: ImageVerdict,
    share_of_retraining: float | None,
    exact: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """{"passed", "checks"}. Utility and forgetting are always checked; what was not measured fails.

    Args:
        exact: of a method that trains anew whatever the forgotten pictures were in: whether its weights are those of
            the retrained model (`equal_to_retrained`, None without one). Its forgetting is judged by that, and not by
            what the model says of the pictures, of which there may be one only.
    """
    found: dict[tuple[str, str, str], float] = {(s.measure, s.split, s.model): s.value for s in scores}
    models = {s.model for s in scores}
    reference: Which = "retrained" if "retrained" in models else "base"
    words = "in the retrained model" if reference == "retrained" else "before"
    checks = []
    for split in ("retain", "test"):
        name = f"{split}_accuracy"
        limit = getattr(verdict, name)
        wanted, after = (
            found.get(("image_accuracy", split, reference)),
            found.get(("image_accuracy", split, "unlearned")),
        )
        if not wanted or after is None:
            checks.append(Check(name, limit, None, False, "not measured"))
            continue
        share = after / wanted
        checks.append(Check(name, limit, share, share >= limit, f"{wanted:.1%} {words}, {after:.1%} after"))
    checks += _exact(exact) if exact is not None else _forgotten(found, verdict)
    if share_of_retraining is not None:
        limit = verdict.share_of_retraining
        explain = f"{share_of_retraining:.1%} of the image passes of training anew"
        checks.append(Check("share_of_retraining", limit, share_of_retraining, share_of_retraining <= limit, explain))
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}


def _exact(exact: Mapping[str, Any]) -> list[Check]:
    equal = exact["equal_to_retrained"]
    told = {
        True: "the weights are bit for bit those of the model that was trained without the pictures",
        False: "the weights are not those of the model that was trained without the pictures",
        None: "no kept weights were trained on the pictures; --retrained train compares them bit for bit",
    }[equal]
    return [Check("exact", 1.0, 0.0 if equal is False else 1.0, equal is not False, told)]


def _forgotten(found: Mapping[tuple[str, str, str], float], verdict: ImageVerdict) -> list[Check]:
    checks = []
    after = found.get(("image_accuracy", "forget", "unlearned"))
    aim = found.get(("image_accuracy", "forget", "retrained"))
    against = "of the retrained model"
    if aim is None:
        aim, against = found.get(("image_accuracy", "test", "unlearned")), "of this model on test pictures"
    if after is None or aim is None:
        checks.append(Check("forget_gap", verdict.forget_gap, None, False, "not measured"))
    else:
        gap = abs(after - aim)
        explain = f"{after:.1%} on the forget set, {aim:.1%} {against}"
        checks.append(Check("forget_gap", verdict.forget_gap, gap, gap <= verdict.forget_gap, explain))
    auc = found.get(("membership_auc", "forget", "unlearned"))
    if auc is None:
        checks.append(Check("membership_auc", verdict.membership_auc, None, False, "not measured: too few pictures"))
    else:
        # A model that is surer of strangers than of the forgotten gives them away as well.
        apart = max(auc, 1 - auc)
        explain = f"forgotten pictures are told from test pictures with an area of {auc:.3f}; 0.5 is chance"
        checks.append(Check("membership_auc", verdict.membership_auc, apart, apart <= verdict.membership_auc, explain))
    return checks
