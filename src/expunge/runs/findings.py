"""Findings of an audit: under-forgetting, over-forgetting and damage, each against a limit fixed before it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from expunge.measures.audit.excess import Excess, Known, excess, holm, knows_more
from expunge.measures.audit.power import facts_needed, smallest_area, smallest_excess
from expunge.measures.privacy.roc import area_difference
from expunge.measures.statistics import Estimate, Z
from expunge.runs.audit import AS_IS, Attacked, Limits, Trial

Speaks = Literal["under-forgetting", "over-forgetting", "damage"]
Together = Mapping[str, Sequence[int]]
"""groups of facts, such as those of one person: of "facts", the "control"'s if they differ, and the
"holdout", (facts,) numbers of groups"""
UNDER: Speaks = "under-forgetting"
OVER: Speaks = "over-forgetting"
DAMAGE: Speaks = "damage"
OVERSHOOT = "overshoot"
"name of the finding that the model knows less than the control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One finding, and whether it is within its limit.

    Attributes:
        name: name of the attack or the measure.
        kind: kind of finding.
        limit: from the settings; value, low, high: the value with its 95 % interval, in `unit`.
        bound: side of the limit that is met.
        n: facts, or rows.
        p: p-value of a true value within the limit, adjusted for the number of settings and findings; None if there
            is none.
        setting: the deciding setting.
        passed: None if undecided.
        needs: approximate number of facts needed, if undecided because there are too few: the attack is not tested.
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
    needs: int | None = None
    explain: str = ""

    def row(self) -> dict[str, Any]:
        """As a JSON value; NaN becomes None."""
        row = asdict(self)
        return {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}


def findings(
    settings: Limits,
    known: Mapping[str, Trial],
    attacked: Sequence[Attacked],
    damaged: Sequence[Finding],
    paired: bool,
    groups: Together | None = None,
) -> list[Finding]:
    """All findings of an audit.

    A finding is met if its value is within the limit, and its interval either ends within the limit or has an upper arm
    no longer than the limit; for an attack under every setting. It is not met if a value is over the limit by more than
    chance: the p-value of a true value within the limit is multiplied by the number of settings, and adjusted for all
    findings together (`Limits.level`; Holm 1979). Otherwise it is undecided, which does not count as passed. If the
    reason is a lack of facts, the attack is not tested, and the finding gives the number needed: its value is within
    the limit, and control and base model alone show that this many facts cannot show an excess as small as the limit
    (`measures/audit/power.py`). Damage is met if its value is within the limit, and not met if its whole interval is
    beyond.

    Args:
        known: trials without an attack, of "unlearned", "base", "control" and "control_base" (see `excess.Known`).
        damaged: damage, as measured for the kind of model; not yet judged.
        paired: whether the control is asked for the same facts.
        groups: groups of facts; see `Together`.
    """
    groups = groups or {}
    damaged = [_within(each) for each in damaged]
    if "control" not in known:
        return [*_without_control(settings, attacked), *damaged]
    as_is = Attacked(
        name=AS_IS, title="Without an attack", sentence="", unlearned=[known["unlearned"]], control=[known["control"]]
    )
    every = [each for each in (as_is, *attacked) if each.unlearned and each.control]
    raw = [_attack(settings, each, known, paired, groups) for each in every]
    raw.append(_overshot(settings, known, paired, groups))
    adjusted = holm([each.p if each.p is not None else 1.0 for each in raw])
    return [*(_judged(settings, each, p) for each, p in zip(raw, adjusted, strict=True)), *damaged]


def passed(found: Sequence[Finding], untested_passes: bool = False) -> bool:
    """Whether all were met; undecided ones are not.

    Args:
        untested_passes: ignore attacks that were not tested for lack of facts, if at least one was tested.
    """
    tested = [each for each in found if each.needs is None]
    if len(tested) < len(found) and not (untested_passes and any(_of_attack(each) for each in tested)):
        return False
    return bool(tested) and all(each.passed is True for each in tested)


def _of_attack(finding: Finding) -> bool:
    return finding.name not in (AS_IS, OVERSHOOT) and finding.kind != DAMAGE


def _without_control(settings: Limits, attacked: Sequence[Attacked]) -> list[Finding]:
    reason = "undecided: there is no control; give --control MODEL or --holdout PATH"
    titles = [(AS_IS, "Without an attack"), *((each.name, each.title) for each in attacked if each.unlearned)]
    return [
        Finding(name=name, kind=UNDER, title=title, limit=settings.excess, value=None, explain=reason)
        for name, title in titles
    ]


def known_under(one: Attacked, at: int, known: Mapping[str, Trial], paired: bool, groups: Together) -> Known:
    """The values under one setting, with the base model's: by recall, or under the same setting."""
    own, control = one.unlearned[at], one.control[at]
    if one.base and one.control_base:
        base, control_base = one.base[at].values, one.control_base[at].values
    else:
        base = [known["base"].values[i] for i in own.facts]
        control_base = [known["control_base"].values[i] for i in control.facts]
    return Known(
        unlearned=own.values,
        control=control.values,
        base=base,
        control_base=control_base,
        paired=paired,
        groups=together(groups, "facts", own.facts),
        control_groups=together(groups, "control", control.facts),
    )


def together(groups: Together, name: str, facts: Sequence[int]) -> list[int] | None:
    """(facts,) their groups; None without groups, or if all are in one."""
    found = None if name not in groups else [groups[name][fact] for fact in facts]
    return found if found is not None and len(set(found)) > 1 else None


def _attack(settings: Limits, one: Attacked, known: Mapping[str, Trial], paired: bool, groups: Together) -> Finding:
    """The finding of an attack, not yet judged."""
    if all(trial.others for trial in (*one.unlearned, *one.control)):
        return _membership(settings, one, paired, groups)
    if len(one.unlearned) != len(one.control):
        raise ValueError(f"{one.name}: {len(one.unlearned)} settings, {len(one.control)} of the control")
    every = [(at, known_under(one, at, known, paired, groups)) for at in range(len(one.unlearned))]
    measurable = [(at, values) for at, values in every if knows_more(values)]
    if not measurable:
        reason = "undecided: the base model knew no more of it than the control"
        return Finding(name=one.name, kind=UNDER, title=one.title, limit=settings.excess, value=None, explain=reason)
    excesses: list[tuple[int, Excess]] = [(at, excess(values, limit=settings.excess)) for at, values in measurable]
    place = _that_counts([(found.share, found.p) for _, found in excesses], settings.excess)
    at, found = excesses[place]
    own, control = one.unlearned[at], one.control[at]
    least = max(smallest_excess(values, len(measurable)) for _, values in measurable)
    return Finding(
        name=one.name,
        kind=UNDER,
        title=one.title,
        limit=settings.excess,
        value=found.share.value,
        low=found.share.low,
        high=found.share.high,
        n=found.n,
        p=min(1.0, found.p * len(excesses)),
        setting="" if one.name == AS_IS else own.setting,
        needs=None if one.name == AS_IS else facts_needed(len(known["unlearned"].values), least, settings.excess),
        explain=f"{own.mean:.1%} {'found' if one.base else 'known'}, {control.mean:.1%} by the control",
    )


def _that_counts(every: Sequence[tuple[Estimate, float]], limit: float) -> int:
    """The deciding setting, of (value with its interval, p-value): the one over the limit with the smallest p-value; if
    none is over it, the one with the highest upper limit of those measured too coarsely, or else the largest."""
    places = range(len(every))
    if over := [i for i in places if every[i][0].value > limit]:
        return min(over, key=lambda i: (every[i][1], -every[i][0].value))
    if coarse := [i for i in places if not _fine(every[i][0].value, every[i][0].high, limit)]:
        return max(coarse, key=lambda i: every[i][0].high)
    return max(places, key=lambda i: every[i][0].value)


def _fine(value: float, high: float, limit: float) -> bool:
    """Whether a value within the limit is measured finely enough to pass."""
    return high <= limit or high - value <= limit


def _membership(settings: Limits, one: Attacked, paired: bool, groups: Together) -> Finding:
    """The score whose area is furthest from the control's, in either direction."""
    pairs = list(zip(one.unlearned, one.control, strict=True))
    found = [
        area_difference(
            own.values,
            own.others,
            control.values,
            control.others,
            paired,
            (
                together(groups, "facts", own.facts),
                together(groups, "control", control.facts),
                together(groups, "holdout", range(len(own.others))),
            ),
        )
        for own, control in pairs
    ]
    sides = [Estimate(abs(v), low if v >= 0 else -high, high if v >= 0 else -low) for v, low, high in found]
    # In two directions.
    ps = [
        math.erfc((s.value - settings.membership) / max((s.high - s.low) / (2 * Z), 1e-9) / math.sqrt(2)) for s in sides
    ]
    at = _that_counts(list(zip(sides, ps, strict=True)), settings.membership)
    own, control = pairs[at]
    number, others = len(own.values), len(own.others)
    least = smallest_area(number, others, 2 if paired else 1, len(pairs))
    return Finding(
        name=one.name,
        kind=UNDER if found[at].value >= 0 else OVER,
        title=one.title,
        limit=settings.membership,
        value=sides[at].value,
        low=sides[at].low,
        high=sides[at].high,
        unit="area",
        n=number,
        p=min(1.0, ps[at] * len(pairs)),
        setting=own.setting,
        needs=facts_needed(number, least, settings.membership),
        explain=f"area {own.mean:.3f}, {control.mean:.3f} of the control; 0.5 is chance",
    )


def _judged(settings: Limits, raw: Finding, p: float) -> Finding:
    if raw.value is None:
        return raw
    assert raw.high is not None
    judged = replace(raw, p=p, needs=None)
    if raw.value > raw.limit:
        return replace(judged, passed=False if p < settings.level else None)
    if _fine(raw.value, raw.high, raw.limit):
        return replace(judged, passed=True)
    if raw.needs is None:
        return judged
    return replace(
        judged, needs=raw.needs, explain=f"{raw.explain}; too few facts for this limit, it needs about {raw.needs}"
    )


def _overshot(settings: Limits, known: Mapping[str, Trial], paired: bool, groups: Together) -> Finding:
    """Whether the model knows less than one that never saw the forget set: that, too, reveals it."""
    as_is = Attacked(name="", title="", sentence="", unlearned=[known["unlearned"]], control=[known["control"]])
    values = known_under(as_is, 0, known, paired, groups)
    finding = Finding(
        name=OVERSHOOT,
        kind=OVER,
        title="Knows less than the control",
        limit=settings.overshoot,
        value=None,
        explain="far below a model that never saw it, the forget set is revealed by what the model avoids",
    )
    if not knows_more(values):
        return finding
    found = excess(values, limit=settings.overshoot)
    return replace(
        finding,
        value=-found.share.value,
        low=-found.share.high,
        high=-found.share.low,
        n=found.n,
        p=found.p_less,
    )


def _within(finding: Finding) -> Finding:
    """Damage, judged by value and interval."""
    if finding.value is None:
        return finding
    assert finding.low is not None and finding.high is not None  # noqa: PT018
    if finding.bound == "at least":
        met, beyond = finding.value >= finding.limit, finding.high < finding.limit
    else:
        met, beyond = finding.value <= finding.limit, finding.low > finding.limit
    return replace(finding, passed=True if met else False if beyond else None)
