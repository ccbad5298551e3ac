"""Attacks of an audit, shared by the processes that a launcher started: each carries out whole attacks on all sides.

The first process plans and judges, and alone owns the folder; the others give it what they found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from expunge.core.processes import ENDS, JOBS, apart, has_helpers, helped
from expunge.runs.attack_plan import Plan
from expunge.runs.work import Budget, Work, total

JOB = "attacks"


def offer(make_audit: Callable[[], Any]) -> None:
    """Let this process carry out attacks for the first one.

    Args:
        make_audit: makes the audit, from what the first process left in the folder.
    """

    def job(about: Any, own: Sequence[int]) -> list[Any]:
        if not own:
            return []
        for end in ENDS:  # no model of earlier jobs is held beside those of the audit
            end()
        at_audit = make_audit()
        if about["asked"] != at_audit.asked_number:
            at_audit.ask_fewer(about["asked"])
        at_audit.made = []
        clock = about["budget"]
        budget = Budget(clock["seconds"], time.monotonic() - clock["spent"])
        budget.rates, budget.after = Work(**clock["rates"]), Work(**clock["after"])
        try:
            return _carried_out(at_audit, [about["attacks"][number] for number in own], budget)
        finally:
            at_audit.release()

    JOBS[JOB] = job


def share(at_audit: Any, plan: Plan, budget: Budget) -> None:
    """Have all processes carry out the attacks of the plan; their results are in the folder then.

    An attack that its process had no time for is left as it is. Without other processes nothing is done.

    Raises:
        FollowedError: another process could not do its part.
    """
    open_ = [attack for attack in plan.chosen if not at_audit.done(attack)]
    if not has_helpers() or len(open_) < 2:
        return
    names = [attack.name for attack in sorted(open_, key=lambda attack: -_tokens(at_audit, attack))]
    clock = {"seconds": budget.seconds, "spent": budget.spent}
    work = {"rates": asdict(budget.rates), "after": asdict(budget.after)}
    about = {"attacks": names, "asked": at_audit.asked_number, "budget": clock | work}

    def own(numbers: Sequence[int]) -> list[Any]:
        at_audit.release()
        with apart():
            return _carried_out(at_audit, [names[number] for number in numbers], budget)

    for made in helped(JOB, about, len(names), own):
        at_audit.take(made)


def _carried_out(at_audit: Any, names: Sequence[str], budget: Budget) -> list[Any]:
    """For each attack the results that this process made and did not write."""
    found = []
    for attack in (attack for name in names for attack, _ in at_audit.attacks([name]) if attack.name == name):
        before = len(at_audit.made or ())
        at_audit.attacked(attack, budget)
        found.append((at_audit.made or [])[before:])
    return found


def _tokens(at_audit: Any, attack: Any) -> float:
    """How long an attack takes next to others, about: the long ones are begun first."""
    work = total(at_audit.pieces(attack))
    return float(work.read + 3 * work.trained + 3 * work.fitted + work.written + work.judged)
