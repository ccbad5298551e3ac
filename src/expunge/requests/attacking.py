"""Attacks of `expunge audit` on a new model: on what its own requests were about, and on what earlier ones were."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.auditing import Asked, audit
from expunge.core.progress import Silent
from expunge.errors import ExpungeError
from expunge.requests.withstood import EARLIER, Withstood
from expunge.runs.attack_names import refuse_misspelt
from expunge.runs.audit import seconds_of
from expunge.runs.findings import UNDER
from expunge.runs.folder import RunFolder
from expunge.runs.kinds import kinds_of, read_recipe, task_of
from expunge.runs.recipe import BaseRecipe


@dataclass(frozen=True, slots=True)
class Attacks:
    """The attacks that a run's model has to withstand.

    Attributes:
        names: of `expunge audit`; empty: all.
        budget: seconds of an audit; None: no limit.
    """

    names: tuple[str, ...] = ()
    budget: float | None = None

    @classmethod
    def named(cls, names: str, budget: str | None) -> Attacks:
        """As on the command line: names separated by commas, or all; a time such as 10m."""
        wanted = () if names == "all" else tuple(name.strip() for name in names.split(",") if name.strip())
        return cls(wanted, None if budget is None else seconds_of(budget))

    def refuse_misspelt(self, recipe: BaseRecipe) -> None:
        """Raise `RecipeError` if there is no such attack on the recipe's kind of model."""
        refuse_misspelt(self.names, kinds_of(task_of(recipe)))


def attacked(folder: RunFolder, attacks: Attacks, show: Silent | None = None) -> Withstood:
    """Audit the model of a run; the audit is the run folder's own."""
    found = _audited(folder, folder, None, attacks, show)
    return found if isinstance(found, Withstood) else _judged(found["findings"], found["passed"])


def attacked_earlier(earlier: RunFolder, run: RunFolder, attacks: Attacks, show: Silent | None = None) -> Withstood:
    """Audit the model of a run on the sets and limits of an earlier run.

    The audit is in `earlier/` in the run's folder; the earlier run's folder stays as it was signed. The text that was
    read for the audit is deleted when it ends.
    """
    place = RunFolder(run.path / EARLIER / earlier.path.name, known_by="audit/settings.json")
    found = _audited(earlier, place, run.model, attacks, show)
    shutil.rmtree(place.stages, ignore_errors=True)
    if isinstance(found, Withstood):
        return found
    # What the model lost in other respects, by being made to forget more, brings nothing back.
    returned = [each for each in found["findings"] if each["kind"] == UNDER]
    whole = bool(found["attacks"]) and not found["short"]
    return _judged(returned, whole and bool(returned) and all(each["passed"] for each in returned))


def _audited(
    of: RunFolder, into: RunFolder, model: Path | None, attacks: Attacks, show: Silent | None
) -> dict[str, Any] | Withstood:
    asked = Asked(model=None if model is None else str(model), attacks=attacks.names, budget=attacks.budget)
    try:
        return audit(read_recipe(of.recipe), into, asked, show)
    except ExpungeError as error:
        return Withstood(None, why=error.what)


def _judged(found: Sequence[Mapping[str, Any]], passed: bool) -> Withstood:
    failed = tuple(each["name"] for each in found if each["passed"] is False)
    return Withstood(False if failed else passed or None, failed)
