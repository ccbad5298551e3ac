"""An audit, as a story: fix the limits, read the data, attack the model and a control, judge, report.

Every attack on either side is cached in the folder, so the same command resumes where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from expunge.core import storage
from expunge.core.processes import agreed, first_alone, is_first, launched_to_spread
from expunge.core.progress import Silent
from expunge.errors import RecipeError, RunError
from expunge.measures.audit.excess import facts_beyond
from expunge.report.audit import render_audit
from expunge.report.render import render_report
from expunge.runs.attack_names import refuse_unknown
from expunge.runs.attack_plan import ask_fewer, carried_out, make_plan, refuse_too_small
from expunge.runs.audit import SHOWN, Attacked, Trial
from expunge.runs.context import Run
from expunge.runs.findings import findings, passed
from expunge.runs.folder import RunFolder
from expunge.runs.format import FORMAT
from expunge.runs.kinds import kinds_by_name
from expunge.runs.plugins import reference
from expunge.runs.recipe import BaseRecipe
from expunge.runs.registry import kind_of
from expunge.runs.sharing_attacks import offer, share
from expunge.runs.shown import noted
from expunge.runs.versions import versions
from expunge.runs.work import Budget
from expunge.spine import at_work, quiet_others, refuse_processes


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of an audit.

    Attributes:
        model: the model; None: the run's own.
        control: a model that never saw the forget set.
        holdout: texts of the same kind as the forget set that no model saw.
        attacks: names of attacks to run; empty: all.
        budget: time limit in seconds.
        begun: its start, by `time.monotonic`.
    """

    model: str | None = None
    control: str | None = None
    holdout: str | None = None
    attacks: tuple[str, ...] = ()
    budget: float | None = None
    begun: float = field(default_factory=time.monotonic)


def audit(recipe: BaseRecipe, folder: RunFolder, asked: Asked, show: Silent | None = None) -> dict[str, Any]:
    """Audit a model; return the content of `audit/audit.json`.

    Args:
        recipe: the recipe of a run, or one that names base model, forget set and retain set for another model.

    Raises:
        ExpungeError: with the next step; results so far are kept.
    """
    budget = Budget(asked.budget, asked.begun)
    refuse_processes(kind_of(recipe))
    if launched_to_spread():
        raise RecipeError(
            "an audit changes whole models: each process has all of their weights",
            seen="ACCELERATE_USE_FSDP",
            next_step="start without --use_fsdp",
        )
    folder.refuse_moved(recipe.model_dump(mode="json"))
    with at_work(recipe, folder, show, f"run the same command again: it resumes in {folder.path}") as (kind, story):
        if kind.audit is None:
            raise RecipeError(
                f"{kind.words} are not audited yet",
                allowed=", ".join(each.words for each in kinds_by_name().values() if each.audit is not None),
                next_step="see expunge evaluate",
            )
        quiet_others(story)
        make = partial(reference(kind.audit), story, asked.model, asked.control, asked.holdout)
        if not is_first():
            offer(make)
        return agreed(first_alone(lambda: _audited(make, story.run, recipe, asked, budget))) or {}


def _audited(
    make: Callable[[], Any], run: Run[Any], recipe: BaseRecipe, asked: Asked, budget: Budget
) -> dict[str, Any]:
    """The first process's part: everything; the others help it."""
    folder = run.folder
    with folder.locked(), noted(run):
        at_audit = make()
        refuse_unknown(asked.attacks, at_audit.names())
        ask_fewer(at_audit, budget, earlier := _noted(folder))
        refuse_too_small(at_audit, asked.attacks, budget, earlier)
        fixed = _fix(folder, recipe, at_audit)
        known = at_audit.known()
        plan = make_plan(at_audit, asked.attacks, budget)
        share(at_audit, plan, budget)
        attacked = carried_out(at_audit, plan, budget)
        damage = at_audit.damage()
        groups = at_audit.groups()
        found = findings(at_audit.settings, known, attacked, at_audit.damaged(damage), at_audit.paired, groups)
        budget.after = at_audit.answering()
        facts = _facts(at_audit, known, attacked, in_time=budget.left >= 0)
        at_audit.release()
        result = {
            "format": FORMAT,
            "passed": passed(found, at_audit.settings.untested_passes) and bool(attacked) and not plan.short,
            "short": plan.short,
            "settings": fixed["settings"],
            "settings_digest": fixed["digest"],
            "fixed_at": fixed["time"],
            "earlier_limits": fixed["earlier"],
            **at_audit.about(),
            "groups": groups,
            "findings": [finding.row() for finding in found],
            "attacks": [each.row() for each in attacked],
            "known": {which: [float(value) for value in trial.values] for which, trial in known.items()},
            "damage": damage,
            "facts_shown": facts,
            "not_tested": plan.left,
            "seconds": round(budget.spent, 1),
            "budget": asked.budget,
            "versions": versions(),
        }
        storage.write_json(folder.audit / "audit.json", result)
        folder.log("audited", passed=result["passed"], seconds=result["seconds"])
        render_audit(folder)
        if folder.record.is_file():
            render_report(folder)
    return result


def _noted(folder: RunFolder) -> dict[str, Any]:
    """The notes of an earlier audit in the folder; empty if there was none."""
    path = folder.audit / "settings.json"
    found: dict[str, Any] = storage.read_json(path) if path.is_file() else {}
    return found


def _fix(folder: RunFolder, recipe: BaseRecipe, at_audit: Any) -> dict[str, Any]:
    """Note the limits, their digest, the time, and what is audited, before a model is judged; an earlier audit's notes
    stay.

    Returns:
        The notes, and under "earlier" the digests and times of other limits noted here before.

    Raises:
        RunError: an audit in the same folder was begun with other limits, or of another model or other data.
    """
    settings = recipe.audit.model_dump(mode="json")  # type: ignore[attr-defined]
    path, digest, key = folder.audit / "settings.json", storage.digest_value(settings), at_audit.key()
    with storage.storage_errors(folder.audit):
        folder.audit.mkdir(exist_ok=True)
    if fixed := _noted(folder):
        if fixed["digest"] != digest:
            different = [name for name in settings if fixed["settings"].get(name) != settings[name]]
            raise RunError(
                f"the limits of this audit were fixed when it began, and the recipe's differ in {', '.join(different)}",
                seen=f"{different[0]}: {settings[different[0]]}" if different else "",
                next_step=f"undo the change, or delete {folder.audit} to begin another audit",
            )
        other = [name for name in key if name != "arithmetic" and fixed.get("of", {}).get(name) != key[name]]
        if other:
            raise RunError(
                f"{folder.path} has the audit of another model, or on other data",
                seen=f"another {' and '.join(other)}",
                next_step=f"give another folder, or delete {folder.audit} to begin another audit",
            )
    else:
        fixed = {"settings": settings, "digest": digest, "time": round(time.time(), 3), "of": key}
        fixed |= {} if at_audit.wanted is None else {"asked": at_audit.asked_number}
        storage.write_json(path, fixed)
        folder.log("audit_fixed", digest=digest)
    # Deleting the limits to loosen them after seeing results still shows in the log.
    before = [row for row in folder.read_events("audit_fixed") if row["digest"] != digest]
    return fixed | {"earlier": [{"digest": row["digest"], "time": row["time"]} for row in before]}


def _facts(at_audit: Any, known: dict[str, Trial], attacked: Sequence[Attacked], in_time: bool) -> dict[str, Any]:
    """The facts known best under their worst attack, with the models' answers; and the number known beyond the
    control, if that is asked for the same ones.

    Args:
        in_time: whether there is time for the models' answers; none is shown otherwise.
    """

    def worst(trials: Sequence[tuple[str, Trial]], n: int) -> list[tuple[float, str]]:
        best = [(0.0, "")] * n
        for name, trial in trials:
            for fact, value in zip(trial.facts, trial.values, strict=True):
                best[fact] = max(best[fact], (value, name))
        return best

    judged = [each for each in attacked if not each.base and not any(t.others for t in each.unlearned)]
    own = [("", known["unlearned"])] + [(f"{e.title}: {t.setting}", t) for e in judged for t in e.unlearned]
    values = worst(own, len(known["unlearned"].values))
    beyond: list[int] | None = None
    others: list[tuple[float, str]] = []
    if at_audit.paired and "control" in known:
        control = [("", known["control"])] + [(each.name, trial) for each in judged for trial in each.control]
        others = worst(control, len(values))
        beyond = facts_beyond([value for value, _ in values], [value for value, _ in others])
    order = sorted(range(len(values)), key=lambda i: (others[i][0] if others else 0.0) - values[i][0])
    order = order[:SHOWN] if at_audit.excerpts and in_time else []
    rows = [
        {
            "number": number,
            **shown,
            "worst": values[number][0],
            "attack": values[number][1] or "without an attack",
            "control": others[number][0] if others else None,
            "base": known["base"].values[number],
        }
        for number, shown in zip(order, at_audit.shown(order), strict=True)
    ]
    return {"rows": rows, "beyond": beyond, "of": len(values)} | ({} if in_time else {"out_of_time": True})
