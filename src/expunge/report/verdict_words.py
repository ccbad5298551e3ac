"""The verdict in words: passed, failed or none, and every check with its limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from expunge.report import numbers, wording
from expunge.runs import measures
from expunge.runs.check import NOT_KNOWN, NOT_KNOWN_BEFORE

FIXED = " fixed in the recipe before the run"
THRESHOLDS_ALONE = " The thresholds were fixed in the recipe before the run."
LATER = " Some of what they are compared with was set after it: {}."


@dataclass(frozen=True)
class CheckRow:
    """One check, ready to print; `passed` is None if it could not be made.

    `unknown`: it could not be made, or is not met, because the model before showed too little.
    """

    name: str
    sentence: str
    limit: str
    value: str
    passed: bool | None
    explain: str
    unknown: bool = False


@dataclass(frozen=True)
class VerdictWords:
    state: Literal["passed", "failed", "none"]
    headline: str
    reason: str
    checks: tuple[CheckRow, ...]


def verdict_words(
    verdict: Mapping[str, Any] | None, retrained: bool = False, later: Sequence[str] | None = ()
) -> VerdictWords:
    """The `verdict` of `record.json` in words. It counts as passed only if nothing in it says otherwise.

    `retrained`: whether a retrained model was the reference of the checks that can use one.
    `later`: settings of the measures that were made only after the run; None if unknown.
    """
    if not verdict or not verdict.get("checks"):
        return VerdictWords("none", "No verdict", wording.MISSING["verdict"], ())
    checks = tuple(_row(check, retrained) for check in verdict["checks"])
    total = len(checks)
    failed = [check.name for check in checks if check.passed is False]
    open_ = [check.name for check in checks if check.passed is None]
    known = later is not None and not later
    fixed = "" if known else THRESHOLDS_ALONE
    if later:
        fixed += LATER.format(_list(list(later)))
    if verdict.get("passed") is True and not failed:
        made = total - len(open_)
        which = "The one check" if made == 1 else f"All {made} checks"
        reason = f"{which}{FIXED if known else ''} {'was' if made == 1 else 'were'} met."
        if open_:
            reason += f" Not made: {_list(open_)}."
        return VerdictWords("passed", "Passed", reason + fixed, checks)
    if verdict.get("not_known"):
        reason = (
            "The model before knew the secret no better than chance, so there is nothing to forget that could be measured."
            if secrets_alone(verdict)
            else "The model before knew the target no better than the similar subjects of the control, so "
            "forgetting cannot be measured."
        )
        others = [check.name for check in checks if check.passed is False and check.value != numbers.UNKNOWN]
        if others:
            reason += f" Also not met: {_list(others)}."
        return VerdictWords("failed", "Not known well enough to measure forgetting", reason + fixed, checks)
    if failed:
        which = "The one check" if total == 1 else f"{len(failed)} of {total} checks"
        reason = f"{which}{FIXED if known else ''} {'was' if len(failed) == 1 else 'were'} not met: {_list(failed)}."
        reason += fixed
    else:
        reason = "The run recorded no pass, although no single check is marked as failed."
    return VerdictWords("failed", "Failed", reason, checks)


def is_unknown(check: Mapping[str, Any]) -> bool:
    """Whether a check was not made because the model before showed nothing to forget."""
    explain = str(check.get("explain") or "")
    return check.get("value") is None and explain.startswith((NOT_KNOWN, NOT_KNOWN_BEFORE))


def secrets_alone(verdict: Mapping[str, Any]) -> bool:
    """Whether what was not known before was held against chance, as secrets are, and not against a control."""
    named = [measures.threshold(str(check["name"])) for check in verdict["checks"] if is_unknown(check)]
    return bool(named) and all(words is not None and words.unit == "chance" for words in named)


def _row(check: Mapping[str, Any], retrained: bool) -> CheckRow:
    name = str(check.get("name") or "unnamed check")
    words = measures.threshold(name)
    unit, threshold, value = words.unit if words else "", check.get("threshold"), check.get("value")
    shown, whole = FIGURES.get(unit) or (numbers.share, f" {unit.removeprefix('share ')}")
    if unit == "share of the reference":
        whole = " of the retrained model" if retrained else " of before"
    if unit == "share of before" and isinstance(value, int | float):
        value = max(0.0, value)  # an excess below the control counts as 0
    passed = check.get("passed")
    return CheckRow(
        name=words.title if words else wording.readable(name).capitalize(),
        sentence=words.sentence if words else "",
        limit=(f"{words.bound} " if words else "") + shown(threshold) + whole,
        value=shown(value),
        passed=passed if isinstance(passed, bool) else None,
        explain=re.sub(r"(\d)%", "\\1\u00a0%", str(check.get("explain") or "")),  # as in the rest of the page
        unknown=passed is not True and is_unknown(check),
    )


def _points(value: float | None) -> str:
    return numbers.UNKNOWN if value is None else numbers.points(value)


def _any(value: Any) -> str:
    return numbers.plain(value) if isinstance(value, int | float) else numbers.UNKNOWN if value is None else str(value)


FIGURES: dict[str, tuple[Callable[[Any], str], str]] = {
    "": (_any, ""),
    "area": (_any, ""),
    "times before": (_any, " times before"),
    "dB": (_any, "\u00a0dB"),
    "points": (_points, ""),
    "chance": (numbers.share, ""),
}
"format of figures in a unit, and the suffix of a limit; others are shares"


def _list(names: list[str]) -> str:
    return ", ".join(name[:1].lower() + name[1:] for name in names)
