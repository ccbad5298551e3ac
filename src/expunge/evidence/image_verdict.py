"""The verdict on a classifier: thresholds fixed in the recipe before the run, each held against the scores after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from expunge.evidence.verdict import Check
from expunge.image_recipe import ImageVerdict
from expunge.measures.score import Score, Which


def judge_images(scores: Sequence[Score], verdict: ImageVerdict, share_of_retraining: float | None) -> dict[str, Any]:
    """{"passed", "checks"}. Utility and forgetting are always checked; what was not measured fails."""
    found = {(s.measure, s.split, s.model): s.value for s in scores}
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
    if share_of_retraining is not None:
        limit = verdict.share_of_retraining
        explain = f"{share_of_retraining:.1%} of the image passes of training anew"
        checks.append(Check("share_of_retraining", limit, share_of_retraining, share_of_retraining <= limit, explain))
    return {"passed": all(check.passed for check in checks), "checks": [asdict(check) for check in checks]}
