"""What an audit found: under-forgetting, over-forgetting and damage, each against a limit that was fixed before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from expunge.measures.audit.excess import Excess, Known, excess, holm, knows_more
from expunge.measures.privacy.roc import area_difference
from expunge.measures.statistics import Z
from expunge.runs.audit import AS_IS, Attacked, Limits, Trial

Speaks = Literal["under-forgetting", "over-forgetting", "damage"]
UNDER: Speaks = "under-forgetting"
OVER: Speaks = "over-forgetting"
DAMAGE: Speaks = "damage"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding, and whether it holds its limit.

    Attributes:
        name: of the attack, or of what is measured.
        kind: what it speaks of.
        limit: from the settings; value, low, high: what was found, with its 95 % interval, in `unit`.
        bound: what side of the limit is met.
        n: facts, or rows.
        p: one-sided p-value of no excess, adjusted for the number of attacks; None where there is none.
        setting: that counted.
        passed: None where it cannot be told.
        explain: in a sentence.
    """

    name: str
    kind: Speaks
    title: str
    limit: float
    value: float | None
    low: float | None = None
    high: float | None = None
    bound: Literal["at most", "at least"] = "at most"
    unit: str = "share of what was known"
    n: int = 0
    p: float | None = None
    setting: str = ""
    passed: bool | None = None
    explain: str = ""

    def row(self) -> dict[str, Any]:
        """As a JSON value; what is no number is None."""
        row = asdict(self)
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}


def findings(
    settings: Limits, known: Mapping[str, Trial], attacked: Sequence[Attacked], damaged: Sequence[Finding], paired: bool
) -> list[Finding]:
    """All findings of an audit.

    A finding of an attack is met where its excess is within the limit, and the interval shows that: where its half is wider
    than the limit, nothing can be told. It is not met where the excess is over the limit and more than chance, all attacks
    together (`Limits.level`). Between the two nothing can be told, either; and what cannot be told does not count as passed.

    Args:
        known: trials without an attack, of "unlearned", "base", "control" and "control_base" (see `excess.Known`).
        damaged: what forgetting cost, which the kind of model judges.
        paired: whether the control is asked for the same facts.
    """
    return [
        *_brought_back(settings, known, attacked, paired),
        *_overshot(settings, known, paired),
        *damaged,
    ]


def passed(found: Sequence[Finding]) -> bool:
    """Whether all were met; what cannot be told is not."""
    return bool(found) and all(each.passed is True for each in found)


def strongest(trials: Sequence[Trial]) -> Trial:
    """The setting under which most is known."""
    return max(trials, key=lambda trial: trial.mean)


def _of(trial: Trial, facts: Sequence[int]) -> list[float]:
    return [trial.values[i] for i in facts]


def _known(unlearned: Trial, control: Trial, known: Mapping[str, Trial], paired: bool) -> Known:
    return Known(
        unlearned=unlearned.values,
        control=control.values,
        base=_of(known["base"], unlearned.facts),
        control_base=_of(known["control_base"], control.facts),
        paired=paired,
    )


def _brought_back(
    settings: Limits, known: Mapping[str, Trial], attacked: Sequence[Attacked], paired: bool
) -> list[Finding]:
    if "control" not in known:
        reason = "not told: there is no control; give --control MODEL or --holdout PATH"
        found = [
            Finding(
                name=AS_IS, kind=UNDER, title="Without an attack", limit=settings.excess, value=None, explain=reason
            )
        ]
        return found + [
            replace(found[0], name=each.name, title=each.title, setting=strongest(each.unlearned).setting)
            for each in attacked
            if each.unlearned
        ]
    as_is = Attacked(
        name=AS_IS, title="Without an attack", sentence="", unlearned=[known["unlearned"]], control=[known["control"]]
    )
    raw = [_attack(settings, each, known, paired) for each in (as_is, *attacked) if each.unlearned and each.control]
    adjusted = holm([each.p if each.p is not None else 1.0 for each in raw])
    return [_judged(settings, each, p) for each, p in zip(raw, adjusted, strict=True)]


def _on_its_scale(one: Attacked, worst: Trial, own: Trial, known: Mapping[str, Trial], paired: bool) -> Known:
    """The values of an attack, beside what the base model reaches: by recall, or under the same attack."""
    if not one.base or not one.control_base:
        return _known(worst, own, known, paired)
    return Known(
        unlearned=worst.values,
        control=own.values,
        base=strongest(one.base).values,
        control_base=strongest(one.control_base).values,
        paired=paired,
    )


def _attack(settings: Limits, one: Attacked, known: Mapping[str, Trial], paired: bool) -> Finding:
    """What an attack found, not yet judged."""
    if all(trial.others for trial in (*one.unlearned, *one.control)):
        return _told_apart(settings, one, paired)
    # The control's strongest setting is its own: to choose among settings helps both sides alike.
    worst, own = strongest(one.unlearned), strongest(one.control)
    values = _on_its_scale(one, worst, own, known, paired)
    told = f"{worst.mean:.1%} {'found' if one.base else 'known'}, {own.mean:.1%} by the control"
    if not knows_more(values):
        reason = f"not told: the base model knew no more of it than the control ({told})"
        return Finding(name=one.name, kind=UNDER, title=one.title, limit=settings.excess, value=None, explain=reason)
    found: Excess = excess(values)
    return Finding(
        name=one.name,
        kind=UNDER,
        title=one.title,
        limit=settings.excess,
        value=found.share.value,
        low=found.share.low,
        high=found.share.high,
        n=found.n,
        p=found.p,
        setting="" if one.name == AS_IS else worst.setting,
        explain=told,
    )


def _told_apart(settings: Limits, one: Attacked, paired: bool) -> Finding:
    """The score whose area is furthest from the control's, in either direction."""
    pairs = list(zip(one.unlearned, one.control, strict=True))
    areas = [area_difference(own.values, own.others, control.values, control.others, paired) for own, control in pairs]
    at = max(range(len(pairs)), key=lambda i: abs(areas[i].value))
    (own, control), (value, low, high) = pairs[at], areas[at]
    deviation = max((high - low) / (2 * Z), 1e-9)
    return Finding(
        name=one.name,
        kind=UNDER if value >= 0 else OVER,
        title=one.title,
        limit=settings.membership,
        value=abs(value),
        low=low if value >= 0 else -high,
        high=high if value >= 0 else -low,
        unit="area",
        n=len(own.values),
        # In two directions, and by the best of several scores.
        p=min(1.0, math.erfc(abs(value) / deviation / math.sqrt(2)) * len(pairs)),
        setting=own.setting,
        explain=f"area {own.mean:.3f}, {control.mean:.3f} of the control; 0.5 is chance",
    )


def _judged(settings: Limits, raw: Finding, p: float) -> Finding:
    if raw.value is None:
        return raw
    assert raw.high is not None
    judged = replace(raw, p=p)
    if raw.value > raw.limit:
        return replace(judged, passed=False if p < settings.level else None)
    return replace(judged, passed=True if raw.high - raw.value <= raw.limit else None)


def _overshot(settings: Limits, known: Mapping[str, Trial], paired: bool) -> list[Finding]:
    """Whether the model knows less than one that never saw the forget set: that, too, tells that it was there."""
    if "control" not in known:
        return []
    of = _known(known["unlearned"], known["control"], known, paired)
    found = excess(of)
    finding = Finding(
        name="overshoot",
        kind=OVER,
        title="Knows less than the control",
        limit=settings.overshoot,
        value=-found.share.value,
        low=-found.share.high,
        high=-found.share.low,
        n=found.n,
        p=found.p_less,
        explain="far below a model that never saw it, the forget set can be told by what the model avoids",
    )
    if not knows_more(_known(known["base"], known["control_base"], known, paired)):
        return [replace(finding, value=None, low=None, high=None)]
    assert finding.value is not None
    over = finding.value > settings.overshoot
    return [replace(finding, passed=(False if found.p_less < settings.level else None) if over else True)]
