"""What a new model still shows of earlier requests: a later run can bring back what an earlier one made it forget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge import spine
from expunge.core.progress import Silent
from expunge.errors import ExpungeError, RunError
from expunge.report.sampled import JUDGED
from expunge.requests.attacking import Attacks, attacked_earlier
from expunge.requests.ledger import Ledger
from expunge.requests.states import name_of
from expunge.requests.withstood import Withstood
from expunge.runs.folder import RunFolder
from expunge.runs.format import read_record
from expunge.runs.kinds import read_recipe
from expunge.runs.registry import kind_of


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier run, measured on a newer model.

    Attributes:
        run: its name.
        requests: the numbers of its requests.
        back: checks of its verdict that passed then, and fail with the newer model; and findings of its audit that
            fail, as `audit: NAME`. Empty if nothing came back.
        why: why it was not measured; None if it was.
        audit: what attacks found; None if it was not attacked.
    """

    run: str
    requests: tuple[int, ...]
    back: tuple[str, ...] = ()
    why: str | None = None
    audit: Withstood | None = None

    def row(self) -> dict[str, Any]:
        """As JSON, for the ledger. `why` stays out of it: an error may name a file."""
        return {
            "run": self.run,
            "requests": list(self.requests),
            "back": list(self.back),
            "measured": self.why is None,
        } | ({} if self.audit is None else {"audit": self.audit.row()})

    @property
    def words(self) -> str:
        """One line of text."""
        names = ", ".join(map(name_of, self.requests))
        attacks = "" if self.audit is None else f"; {self.audit.words}"
        if self.back:
            return f"{names}: CAME BACK in the new model ({', '.join(self.back)}){attacks}"
        if self.why is not None:
            return f"{names}: NOT MEASURED on the new model: {self.why}{attacks}"
        return f"{names}: still forgotten by the new model{attacks}"


def earlier_runs(ledger: Ledger, base: str, name: str) -> dict[str, tuple[Path, tuple[int, ...]]]:
    """Name -> (folder, requests) of the runs on a base model that passed before, the first one first.

    Args:
        name: the new run; it is left out.
    """
    begun = {each.content["name"]: each.content for each in ledger.chain.events("kind = 'started'")}
    last = {each.request: each.content["name"] for each in ledger.chain.events("kind = 'passed'")}
    found: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for each in ledger.requests(sorted(last)):
        run = last[each.number]
        if each.state in ("passed", "closed") and run != name and begun[run]["base"] == base:
            found[run] = (Path(begun[run]["run"]), (*found.get(run, (Path(), ()))[1], each.number))
    return found


def measure_earlier(
    runs: Mapping[str, tuple[Path, Sequence[int]]],
    run: RunFolder,
    show: Silent | None = None,
    attacks: Attacks | None = None,
) -> list[Earlier]:
    """Measure a new model on the forget sets of earlier runs, and judge it by their thresholds.

    Nothing is written to their folders: their signatures stay valid.

    Args:
        runs: as from `earlier_runs`.
        run: the new run.
        attacks: attacks on its model, to bring back what the earlier runs made it forget; None: none.
    """
    found = []
    for name, (folder, numbers) in runs.items():
        try:
            back, why = came_back(RunFolder(folder), run.model, show), None
        except ExpungeError as error:
            back, why = (), error.what
        audit = None if attacks is None else attacked_earlier(RunFolder(folder), run, attacks, show)
        back = (*back, *(f"audit: {each}" for each in (audit.failed if audit else ())))
        found.append(Earlier(name, tuple(numbers), back, why, audit))
    return found


def came_back(folder: RunFolder, model: Path, show: Silent | None = None) -> tuple[str, ...]:
    """Names of the checks of a run's verdict that passed, and fail for another model's scores on the forget set.

    Raises:
        ExpungeError: the run's folder or its sets are no longer as they were.
    """
    recipe, record, stored = read_recipe(folder.recipe), read_record(folder.record), folder.read_scores()
    if record is None:
        raise RunError(f"{folder.record} is missing")
    wanted = {
        (each.measure, each.split)
        for each in stored
        if each.model == "unlearned" and each.split.startswith("forget") and each.measure not in JUDGED
    }
    again = {(each.measure, each.split): each for each in spine.measure_again(recipe, folder, wanted, show, str(model))}
    scores = [
        again.get((each.measure, each.split), each)
        if each.model == "unlearned" and (each.measure, each.split) in wanted
        else each
        for each in stored
    ]
    evidence = kind_of(recipe).make_evidence()
    then, now = (evidence.judge(each, record["thresholds"], record)["checks"] for each in (stored, scores))
    passed = {check["name"] for check in then if check["passed"]}
    return tuple(check["name"] for check in now if check["passed"] is False and check["name"] in passed)
