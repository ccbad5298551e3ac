"""The verdict's checks of familiarity: what the base model knew beyond the control, and what of that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from expunge.core.score import Score, Which
from expunge.kinds.language.recipe import Verdict
from expunge.measures.statistics import difference_interval
from expunge.runs.check import Check

FAMILIARITIES = ("familiarity_completion", "familiarity_probability")
KNOWN_BEFORE = 0.01
"familiarity beyond the control below this in the base model cannot be seen to fall"
NOT_KNOWN = "not known well enough to be seen to go"
CHANCE = 0.5

Found = Mapping[tuple[str, str, Which], Score]


def familiarity_checks(found: Found, verdict: Verdict) -> list[Check]:
    """A check for each familiarity that was measured: the share that is left of what the base showed beyond the control.

    Where the interval of that excess reaches down to 0 the check is not met, or, where the other familiarity can be seen
    to go, not made. Without a control the familiarity itself stands for the excess.
    """
    checks: list[Check] = []
    for measure in FAMILIARITIES:
        before, after = found.get((measure, "forget", "base")), found.get((measure, "forget", "unlearned"))
        if before is None or after is None:
            continue
        control, limit = found.get((measure, "control", "base")), getattr(verdict, measure)
        bar = 0.0 if control is None else control.value
        excess, low, high = (before.value, before.low, before.high) if control is None else difference_interval(
            (before.value, before.low, before.high), (control.value, control.low, control.high)
        )  # fmt: skip
        beyond = "" if control is None else f", {bar:.4f} in the control"
        if low <= 0 or excess < KNOWN_BEFORE:
            explain = (
                f"{NOT_KNOWN}: {before.value:.4f} before{beyond}, an excess of {excess:.4f} [{low:.4f}, {high:.4f}]"
            )
            checks.append(Check(measure, limit, None, False, explain))
            continue
        left = (after.value - bar) / excess
        what = "is left" if control is None else "of the excess is left"
        explain = f"{before.value:.4f} before, {after.value:.4f} after{beyond}: {max(0.0, left):.0%} {what}"
        checks.append(Check(measure, limit, left, left <= limit, explain))
    if any(check.value is not None for check in checks):
        checks = [
            check if check.value is not None else Check(check.name, check.threshold, None, None, check.explain)
            for check in checks
        ]
    return checks


def not_known(checks: Sequence[Check]) -> bool:
    """Whether the base model knew the target too little: by every familiarity that was measured; without one, by all else.

    Args:
        checks: those of forgetting.
    """
    familiar = [check for check in checks if check.name in FAMILIARITIES] or checks
    return (
        bool(familiar)
        and all(check.value is None for check in familiar)
        and any(check.explain.startswith(NOT_KNOWN) for check in familiar)
    )


def question_checks(found: Found, verdict: Verdict) -> list[Check]:
    """Questions with two answers must be answered by chance, in either direction, where the base did better than that.

    Chance is what the answers alone give away (0.5 where each is true as often as false). Where the base's interval
    reaches down to it, the check is not made.
    """
    before, after = found.get(("two_answers", "forget", "base")), found.get(("two_answers", "forget", "unlearned"))
    if before is None or after is None:
        return []
    blind, limit = found.get(("two_answers", "control", "base")), verdict.two_answers
    chance = CHANCE if blind is None else blind.value
    interval = f"[{before.low:.1%}, {before.high:.1%}]"
    told = f"{before.value:.1%} {interval} right before, {after.value:.1%} after, chance {chance:.1%}"
    if before.low <= chance:
        return [Check("two_answers", limit, None, None, f"{NOT_KNOWN}: {told}")]
    distance = abs(after.value - chance)
    return [Check("two_answers", limit, distance, distance <= limit + 1e-9, told)]
