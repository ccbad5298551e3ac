"""Benchmark suites: `expunge suite NAME`. Each is a folder under `expunge.suites`, or an entry point of that group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from expunge.core import storage
from expunge.runs.plugins import found_in, reference

EVALUATION = "evaluation"
"what a file says that it is in which `expunge evaluate --suite` wrote what it measured"

if TYPE_CHECKING:
    from expunge.runs.folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A benchmark suite.

    Attributes:
        name: as it is typed.
        command: `module:function` of the command; its parameters are the options, its docstring is the help.
        marks: files or folders, any of which says that a folder is this suite's.
        render: `module:function` that writes `report.html` of such a folder (RunFolder to its path).
        compare: `module:function` that compares several (run folders, path of an HTML page or None; prints
            as a table); None if that makes no sense.
        questions: `module:function` that reads what `expunge evaluate --suite` asks any model (data or None, forget set or
            None, and by name `mmlu`, if it has such a parameter; to the suite's sets of questions); None if it asks none.
    """

    name: str
    command: str
    marks: tuple[str, ...]
    render: str
    compare: str | None = None
    questions: str | None = None

    def render_report(self, folder: RunFolder) -> Path:
        return reference(self.render)(folder)

    def function(self) -> Callable[..., object]:
        return reference(self.command)


@cache
def suites() -> dict[str, Suite]:
    """Every suite that is installed, by name."""
    return {suite.name: suite for suite in found_in("expunge.suites", "suite", "SUITE")}


def suite_of(folder: Path) -> Suite | None:
    """The suite that made a folder, finished or not, or the file of an evaluation with its questions; None for a run's."""
    if folder.is_file():
        return _evaluated_with(folder)
    return next((suite for suite in suites().values() if any((folder / mark).exists() for mark in suite.marks)), None)


def _evaluated_with(path: Path) -> Suite | None:
    try:
        found = storage.read_json(path)
    except storage.StorageError:
        return None
    evaluation = isinstance(found, dict) and found.get("kind") == EVALUATION
    return suites().get(str(found.get("suite"))) if evaluation else None


def comparer(folders: Sequence[RunFolder]) -> Callable[..., object] | None:
    """The comparison function, if one of the folders is of a suite that can be compared."""
    made_by = [suite_of(folder.path) for folder in folders]
    named = next((suite.compare for suite in made_by if suite is not None and suite.compare is not None), None)
    return None if named is None else reference(named)
