"""Read a run folder leniently: missing files are empty, so that the report can say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from expunge.core import storage
from expunge.core.plain_yaml import read_yaml
from expunge.core.score import Score
from expunge.report import wording
from expunge.runs.folder import RunFolder
from expunge.runs.format import read_record
from expunge.runs.kinds import DEFAULT_TASK, kinds_of

SHOWN = 6
"targets to name if all of them would be too many"


@dataclass(frozen=True)
class Contents:
    """The files of one run.

    `record` is None if the run has not ended. `recipe` is read as plain YAML, so that a folder written by another
    version of the recipe can still be reported.
    """

    name: str
    recipe: dict[str, Any]
    recipe_text: str
    scores: tuple[Score, ...]
    answers: tuple[dict[str, Any], ...]
    steps: tuple[dict[str, Any], ...]
    probes: tuple[dict[str, Any], ...]
    evaluations: tuple[dict[str, Any], ...]
    "losses of a few texts of each set, evaluated during training"
    kept_step: int | None
    "the step whose weights training chose"
    record: dict[str, Any] | None
    toxicity: dict[str, Any] | None
    "toxicity prompts with every model's continuations and their scores"
    started: float | None
    "seconds since 1970, UTC"

    def part(self, name: str) -> Any:
        """A part of the record (`cost`, `sets`, ...), or None."""
        return (self.record or {}).get(name)

    @property
    def measured_later(self) -> list[str] | None:
        """Settings of the measures that were made only after the run; None if unknown."""
        later = (self.record or {}).get("measured_later", [])
        return None if later is None else [str(each) for each in later]

    @property
    def task(self) -> str:
        """The recipe's task, which gives the kind of the model; the default if no such kind is installed."""
        task = str(self.recipe.get("task") or DEFAULT_TASK)
        return task if kinds_of(task) else DEFAULT_TASK

    @property
    def title(self) -> str:
        """What was to be forgotten, in the user's words; of an absolute path only the last two parts: a page is shown
        to others, who need not know the folders of the machine."""
        return _last_parts(str(self.part("title") or "")) or targets_in_words(self.recipe) or "not named"

    @property
    def method(self) -> str:
        name = (self.part("method") or {}).get("name") or (self.recipe.get("method") or {}).get("name")
        return str(name or "not named")

    @property
    def method_title(self) -> str:
        """The name of the method in words."""
        named = wording.title(str((self.part("method") or {}).get("citation") or ""))
        if self.task != DEFAULT_TASK and named:
            return named
        return wording.method(self.method)

    def score(self, measure: str, model: str) -> Score | None:
        """The first score of a measure for one of the three models; not of a control."""
        found = (s for s in self.scores if s.measure == measure and s.model == model and s.split != "control")
        return next(found, None)

    def control(self, measure: str) -> Score | None:
        """The base model's score on similar prompts on other subjects."""
        found = (s for s in self.scores if s.measure == measure and s.split == "control" and s.model == "base")
        return next(found, None)


def read_contents(folder: RunFolder) -> Contents:
    """Read everything a report needs. Raises `RunError` unless `folder` is a run folder."""
    folder.require()
    text = folder.recipe.read_text(encoding="utf-8", errors="replace")
    recipe = read_yaml(text)
    first = next((row for row in folder.read_events() if "time" in row), None)
    kept = [int(row["step"]) for row in folder.read_events("kept")]
    return Contents(
        name=folder.path.resolve().name,
        recipe=recipe if isinstance(recipe, dict) else {},
        recipe_text=text,
        scores=tuple(folder.read_scores()) if folder.scores.is_file() else (),
        answers=tuple(storage.read_json(folder.answers)) if folder.answers.is_file() else (),
        steps=tuple(folder.steps("step")),
        probes=tuple(folder.steps("probe")),
        evaluations=tuple(folder.steps("evaluation")),
        kept_step=kept[-1] if kept else None,
        toxicity=storage.read_json(folder.toxicity) if folder.toxicity.is_file() else None,
        record=read_record(folder.record),
        started=first["time"] if first else None,
    )


def targets_in_words(recipe: Mapping[str, Any]) -> str:
    """The targets of a recipe given as plain values, the first few by name; empty if it has none."""
    also = recipe.get("forget_also")
    targets = [recipe.get("forget"), *(also if isinstance(also, list) else ())]
    named = [_last_parts(str(each)) for each in targets if each]
    more = len(named) - SHOWN
    return ", ".join(named[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _last_parts(said: str) -> str:
    """The last two parts of an absolute path; anything else unchanged."""
    return "/".join(PurePath(said).parts[-2:]) if PurePath(said).is_absolute() else said
