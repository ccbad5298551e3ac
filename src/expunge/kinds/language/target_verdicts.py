"""Which of several targets are still known, by the limits of the verdict on all of them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from expunge.core.score import Score
from expunge.kinds.language.measures.declared import DECLARED
from expunge.runs.check import Threshold, judge
from expunge.runs.measure import TARGET
from expunge.runs.recipe import Thresholds

JUDGED = ("familiarity_completion", "familiarity_probability", "secret_exposure", "recall_left")
"thresholds that each target is judged by"
KNOWN, PASSED, UNKNOWN, UNTESTED = "still known", "passed", "not known before", "not tested"
"states of a target"


def target_verdicts(scores: Sequence[Score], limits: Thresholds) -> list[dict[str, Any]]:
    """For each separately measured target {"name", "state", "checks"}, in their order.

    `still known`: a limit is not met; `passed`: at least one is met, and none is not; `not known before`: the base
    model shows too little of it to measure forgetting; `not tested`: no measure with a limit was taken.
    """
    thresholds = [each for each in DECLARED.thresholds if isinstance(each, Threshold) and each.name in JUDGED]
    control = [score for score in scores if score.split == "control"]
    found = []
    for split in dict.fromkeys(score.split for score in scores if score.split.startswith(TARGET)):
        own = [replace(score, split="forget") for score in scores if score.split == split]
        checks = judge([*own, *control], limits, thresholds)["checks"]
        found.append({"name": split.removeprefix(TARGET), "state": _state(checks), "checks": checks})
    return found


def _state(checks: Sequence[Mapping[str, Any]]) -> str:
    made = [check["passed"] for check in checks if check["value"] is not None]
    if False in made:
        return KNOWN
    return PASSED if made else UNKNOWN if checks else UNTESTED


def still_known(verdict: Mapping[str, Any], scores: Sequence[Score]) -> list[str]:
    """A sentence for each target that is still known: by which checks, on how many examples."""
    found = []
    titles = {each.name: each.title for each in DECLARED.thresholds if isinstance(each, Threshold)}
    for target in verdict.get("targets", ()):
        if target["state"] != KNOWN:
            continue
        by = []
        for check in target["checks"]:
            if check["value"] is None or check["passed"] is not False:
                continue
            measure = "verbatim_recall" if check["name"] == "recall_left" else check["name"]
            n = next(s.n for s in scores if s.measure == measure and s.split == TARGET + target["name"])
            by.append(f"{titles[check['name']].lower()}, n = {n}: {check['explain']}")
        found.append(f"target {target['name']}: still known ({'; '.join(by)})")
    return found
