"""A suite of questions: teach a model and an oracle, let every method forget, ask all of them, and compare.

The suite's folder holds `recipe.yaml` (what is run), `data-SUITE/` (what methods are given), `stages/` (the models that
were taught, and what every model answered), `cells/METHOD/SEED/` (ordinary run folders), the figures and `report.html`. A
suite that was interrupted resumes with what is missing; more methods and seeds may be added to it later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.errors import DataError, DivergedError, RecipeError
from expunge.kinds.language.measures.question_answers import digest_asked
from expunge.runs.versions import versions
from expunge.suites.tofu.asking import Answers, Origin, ask, is_asked
from expunge.suites.tofu.cells import Cell, unlearn_cell
from expunge.suites.tofu.controls import controlled
from expunge.suites.tofu.figures import control_figures, suite_figures
from expunge.suites.tofu.plan import Plan
from expunge.suites.tofu.prepare import Prepared, prepared
from expunge.suites.tofu.report import render_questions
from expunge.suites.tofu.series import part_of, series_figures
from expunge.suites.tofu.sets import QuestionSets, Series
from expunge.suites.tofu.suite import data_folder


def run_questions(plan: Plan, out: str | Path, show: Silent | None = None) -> dict[str, Any]:
    """Make every model that is missing, ask it, compute the figures, and write them; the figures.

    Figures and page are written before each model that is missing, too, and say then that they are not finished.
    """
    sets = plan.sets
    prompted = {each: controlled(sets, each) for each in plan.controls}  # before anything is taught
    with prepared(plan, out, show) as made:
        models = {"taught": made.before, **({} if made.oracle is None else {"oracle": made.oracle})}
        answers = {who: _ask(made, who, origin, sets) for who, origin in models.items()}
        prompts = {each: _ask_control(made, each, asked) for each, asked in prompted.items()}
        cells = made.cells()
        so_far = _Figures(made, answers, control_figures(prompts, _truths(sets), answers.get("oracle"), sets.scoring))
        missing = [cell for cell in cells if not _is_there(made, cell)]
        results: dict[str, tuple[dict[str, Any], Answers]] = {}
        # What is there comes first, so that no figures that were written before are lost in those so far.
        for number, cell in enumerate([*(each for each in cells if each not in missing), *missing], 1):
            if cell in missing:
                so_far.write(cells, results, {}, finished=False)
            results[cell.name] = _cell(made, cell, sets, made.before, f"{number} of {len(cells)}")
        if missing and sets.series:
            so_far.write(cells, results, {}, finished=False)
        parts = {each.name: _series(made, each, cells) for each in sets.series}
        made.run.show.stage("computing the figures")
        return so_far.write(cells, results, parts, finished=True)


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of a suite, of as many models as there are."""

    made: Prepared
    answers: Mapping[str, Answers]
    controls: Sequence[Mapping[str, Any]]
    known: dict[Any, Any] = field(default_factory=dict)
    "what was computed already"

    def write(
        self,
        cells: Sequence[Cell],
        results: Mapping[str, tuple[dict[str, Any], Answers]],
        parts: Mapping[str, Any],
        finished: bool,
    ) -> dict[str, Any]:
        """Compute figures, write them and the page; the figures.

        Args:
            results: (what it took, what its model answers) of a cell, by its name.
            parts: the same of each series, as `_series` gives it.
        """
        plan, run = self.made.plan, self.made.run
        sets, truths = plan.sets, _truths(plan.sets)
        groups: dict[str, list[tuple[Cell, dict[str, Any], Answers]]] = {}
        for cell in cells:
            if cell.name in results:
                groups.setdefault(cell.group, []).append((cell, *results[cell.name]))
        figures = suite_figures(self.answers, groups, truths, self.made.oracle_tokens, sets.scoring, self.known) | {
            "unfinished": None if finished else {"made": len(results), "of": len(cells)},
            "controls": list(self.controls),
            "suite": plan.name,
            "settings": self.made.settings,
            "seeds": plan.seeds,
            "taught": {"forget": len(sets.taken), "retain": len(sets.kept)} if sets.teach else None,
            "given": {"forget": len(sets.forget), "retain": len(sets.retain)},
            "unit": "texts" if sets.forget[0].is_text else "answers",
            "asked": {split: len(rows) for split, rows in sets.measured.items()},
            "axes": {"forgotten": list(sets.scoring.forgotten), "utility": sets.scoring.utility},
            "chance": dict(sets.scoring.chance),
            "series": {each: series_figures(steps, truths, sets.scoring) for each, steps in parts.items()},
            "left_out": list(sets.left_out),
            "notices": run.notices(),
            "versions": versions(),
        }
        storage.write_json(run.folder.path / f"{plan.name}.json", figures)
        render_questions(run.folder)
        return figures


def _truths(sets: QuestionSets) -> dict[str, list[str]]:
    return {split: [row.answer for row in rows] for split, rows in sets.measured.items()}


def _is_there(made: Prepared, cell: Cell) -> bool:
    """Whether a cell's model was made and asked everything."""
    sets = made.plan.sets
    return is_asked(made.run, cell.name, _origin(cell, sets, made.before), sets, made.plan.lesson.new_tokens)


def _ask(made: Prepared, who: str, origin: Origin, sets: QuestionSets) -> Answers:
    return ask(made.run, who, origin, sets, made.plan.lesson.new_tokens)


def _ask_control(made: Prepared, name: str, sets: QuestionSets) -> Answers:
    """What the model before answers when a control says something before each question."""
    try:
        return _ask(made, name, made.before, sets)
    except DataError as error:
        raise RecipeError(
            f"what the control {name} says before a question does not fit: {error.what}",
            seen=error.seen,
            allowed=error.allowed,
            next_step=f"leave {name} out of --controls",
        ) from error


def unlearned(made: Prepared, cell: Cell, sets: QuestionSets, origin: Origin, place: str) -> dict[str, Any]:
    """What a cell's model took, or why there is none; made once.

    Args:
        origin: the model that it begins with.
        place: of the cell among all, for the display.
    """
    spent: dict[str, Any] = made.run.cached_json(
        f"cell-{cell.name}",
        _cell_key(cell, sets, origin),
        lambda: unlearn_cell(cell, made.plan.all_methods, made.run.show),
        "spent.json",
        f"{cell.method}, seed {cell.seed} ({place})",
    )
    return spent


def is_unlearned(made: Prepared, cell: Cell, sets: QuestionSets, origin: Origin) -> dict[str, Any] | None:
    """What `unlearned` would find in the suite's folder; None if the cell is still to be run."""
    path = made.run.cache_path(f"cell-{cell.name}", _cell_key(cell, sets, origin))
    if not (path / "stage.json").is_file():
        return None
    spent: dict[str, Any] = storage.read_json(path / "spent.json")
    return spent


def _cell(made: Prepared, cell: Cell, sets: QuestionSets, origin: Origin, place: str) -> tuple[dict[str, Any], Answers]:
    """(what a cell took, or why it failed; what its model answers); made once."""
    spent = unlearned(made, cell, sets, origin, place)
    if spent["failed"]:
        return spent, {}
    try:
        return spent, _ask(made, cell.name, _origin(cell, sets, origin), sets)
    except DivergedError as error:
        return spent | {"failed": error.what}, {}


def _origin(cell: Cell, sets: QuestionSets, before: Origin) -> Origin:
    """The model that a cell makes of the one `before`."""
    return Origin(_cell_key(cell, sets, before), str(cell.path / "model"))


def _cell_key(cell: Cell, sets: QuestionSets, origin: Origin) -> dict[str, Any]:
    recipe = cell.recipe.model_dump(mode="json", exclude={"forget", "retain", "evaluation"}) | {"model": origin.key}
    return {"recipe": recipe, "forget": digest_asked(sets.forget), "retain": digest_asked(sets.retain)}


def _series(
    made: Prepared, series: Series, cells: Sequence[Cell]
) -> list[tuple[Cell, list[tuple[dict[str, Any], Answers]]]]:
    """Each cell on every part of a series: (what it took, what its model answers). After a part that failed none is tried."""
    plan, found = made.plan, []
    for number, cell in enumerate(cells, 1):
        steps: list[tuple[dict[str, Any], Answers]] = []
        origin = made.before
        for i, part in enumerate(series.parts, 1):
            own = part_of(cell, series, i, origin.model, made.run.folder.path / data_folder(plan.name))
            sets = replace(plan.sets, forget=part, measured=plan.sets.said)
            if series.chained and steps and steps[-1][0]["failed"]:
                steps.append(({"failed": f"the part before failed: {steps[-1][0]['failed']}"}, {}))
                continue
            place = f"{series.name} {i} of {len(series.parts)}, model {number} of {len(cells)}"
            steps.append(_cell(made, own, sets, origin, place))
            if series.chained:
                origin = Origin(storage.digest_value(_cell_key(own, sets, origin)), str(own.path / "model"))
        found.append((cell, steps))
    return found
