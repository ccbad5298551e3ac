"""Plan which attacks of an audit run within its budget, and which are left out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from expunge.errors import RecipeError
from expunge.measures.audit.excess import knows_more
from expunge.runs.audit import Attacked
from expunge.runs.findings import Together, known_under
from expunge.runs.work import END, KINDS, Budget, Work, total

FIXED = 0.5
"share of a budget for work other than attacks; above it fewer facts are asked for"
LEAST = 16
"minimum of facts to ask for, if there are as many"
MORE = 1.25
"factor between a first attack's need and the advised budget"
SPENT = "the budget was spent before it"


@dataclass(slots=True, kw_only=True)
class Plan:
    """Attacks to run, and those left out, with the reason.

    Attributes:
        chosen: the clock may stop the last ones between two pieces.
        seconds: expected time of each.
        short: whether the budget was too small for a requested attack.
    """

    chosen: list[Any] = field(default_factory=list)
    left: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    short: bool = False


def ask_fewer(at_audit: Any, budget: Budget, earlier: Mapping[str, Any]) -> None:
    """Measure the work other than attacks; if it takes more than half of the budget, ask for fewer facts, and if an
    earlier audit in the folder did so, for the same number.

    Args:
        earlier: its notes; empty if there was none.
    """
    if budget.seconds is not None:
        budget.rates = at_audit.measured(at_audit.asking() + at_audit.around())
    if "asked" in earlier:
        at_audit.ask_fewer(earlier["asked"])
    elif not earlier and budget.seconds is not None:
        number = at_audit.asked_number
        room = FIXED * budget.seconds - budget.spent - budget.predicted(at_audit.around())
        asking = budget.predicted(at_audit.asking())
        if asking > room and number > LEAST:
            at_audit.ask_fewer(max(LEAST, int(number * max(0.0, room) / asking)))
    budget.after = at_audit.around()


def refuse_too_small(at_audit: Any, wanted: Sequence[str], budget: Budget, earlier: Mapping[str, Any]) -> None:
    """Raise `RecipeError` if the budget has no room for a piece of any attack: before anything is asked or written, and
    with the needed time. A folder with an earlier audit is not refused: its results are shown.

    Args:
        wanted, earlier: as for `make_plan` and `ask_fewer`.
    """
    if budget.seconds is None or earlier:
        return
    able = [attack for attack, missing in at_audit.attacks(wanted) if missing is None and is_wanted(attack, wanted)]
    pieces = {attack: at_audit.pieces(attack) for attack in able}
    every = total([piece for each in pieces.values() for piece in each])
    budget.rates += at_audit.measured(_not_yet(every, budget.rates))
    first = {attack: budget.predicted(each[0].work) for attack, each in pieces.items() if each}
    asking = budget.predicted(at_audit.asking())
    if not first or min(first.values()) <= budget.left - asking:
        return
    least = min(first, key=lambda attack: first[attack])
    around = budget.spent + asking + budget.predicted(budget.after)

    def needed(attacks: float) -> int:
        return math.ceil((around + attacks) / (1 - END))

    one, whole = needed(first[least]), needed(budget.predicted(every))
    raise RecipeError(
        f"a budget of {budget.seconds:g} s has room for no attack",
        seen=f"about {around:.0f} s without any: loading, asking for {at_audit.asked_number} facts, damage; and "
        f"{first[least]:.0f} s for the least, of {least.name}",
        allowed=f"about {one} s for a first attack, {whole} s for all requested ones",
        next_step=f"give more: --budget {math.ceil(one * MORE / 60)}m; or ask for fewer facts: --audit.facts {LEAST}",
    )


def is_wanted(attack: Any, wanted: Sequence[str]) -> bool:
    """Whether an attack is requested; long ones only if named."""
    return attack.name in wanted if wanted else not attack.optional


def make_plan(at_audit: Any, wanted: Sequence[str], budget: Budget) -> Plan:
    """Choose the attacks: the requested ones in order as far as the budget goes; then those for which there is
    room for a part. Results of an earlier audit in the folder count, whatever this one requests.

    Args:
        wanted: names; empty: all.
    """
    plan, open_ = Plan(), []
    for attack, missing in at_audit.attacks(wanted):
        if missing is not None:
            plan.left.append(_left(attack, missing))
        elif at_audit.done(attack):
            plan.seconds[attack.name] = 0.0
            plan.chosen.append(attack)
        elif attack.optional and attack.name not in wanted:
            plan.left.append(_left(attack, f"an option, since it takes long (--attacks {attack.name})"))
        elif wanted and attack.name not in wanted:
            plan.left.append(_left(attack, "not requested (--attacks)"))
        else:
            open_.append((attack, at_audit.pieces(attack)))
    spent = budget.left <= 0
    if budget.seconds is not None and not spent:
        every = total([piece for _, pieces in open_ for piece in pieces])
        budget.rates += at_audit.measured(_not_yet(every, budget.rates))
    room, part = budget.left, []
    for attack, pieces in open_:
        seconds = plan.seconds[attack.name] = budget.predicted(total(pieces))
        if seconds <= room:
            room -= seconds
            plan.chosen.append(attack)
        else:
            part.append((attack, pieces))
    for attack, pieces in part:
        first, seconds = budget.predicted(pieces[0].work), plan.seconds[attack.name]
        if first <= room or at_audit.kept(attack):
            room -= first
            plan.chosen.append(attack)
        else:
            plan.short = True
            small = f"the budget is too small: it takes about {seconds:.0f} s"
            plan.left.append(_left(attack, SPENT if spent else small))
    return plan


def carried_out(at_audit: Any, plan: Plan, budget: Budget) -> list[Attacked]:
    """The attacks of the plan, in their order; those without time left are added to those left out."""
    done: list[tuple[int, Attacked]] = []
    for attack in plan.chosen:
        found, rest = at_audit.attacked(attack, budget)
        if rest:
            plan.short = True
            why = SPENT if found is None else f"{SPENT}: {'; '.join(rest)}"
            plan.left.append(_left(attack, why, found is not None))
        if found is None:
            continue
        if attack.needs_base and _base_knows_nothing(found, at_audit.paired, at_audit.groups()):
            plan.left.append(_left(attack, "the base model answers it no better than the control"))
        else:
            done.append((attack.order, found))
    return [found for _, found in sorted(done, key=lambda each: (each[0], each[1].name))]


def _base_knows_nothing(found: Attacked, paired: bool, groups: Together) -> bool:
    """Whether the base model itself does no better than the control under an attack, so that there is nothing to bring
    back."""
    if not found.base or not found.control_base:
        return False
    as_base = Attacked(
        name="", title="", sentence="", unlearned=found.base, control=found.control_base,
        base=found.base, control_base=found.control_base,
    )  # fmt: skip
    return not any(knows_more(known_under(as_base, at, {}, paired, groups)) for at in range(len(found.base)))


def _not_yet(work: Work, rates: Work) -> Work:
    """The kinds of work without a known rate."""
    return replace(work, **{name: 0.0 for name in KINDS if getattr(rates, name)})


def _left(attack: Any, why: str, in_part: bool = False) -> dict[str, Any]:
    """An attack that is not run, or not in all settings (`in_part`)."""
    return {"name": attack.name, "title": attack.title, "why": why} | ({"in_part": True} if in_part else {})
