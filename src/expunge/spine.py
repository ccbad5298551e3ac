"""A run, as a story: read the data, make or load the models, measure, unlearn, measure again, record, report.

It is the same for every kind of model; the kind's folder says what each part does. Every part is cached in the run folder,
so the same command resumes where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.core.threads import in_use
from expunge.errors import RecipeError, RunError
from expunge.report.model_card import model_card
from expunge.report.record import make_record
from expunge.report.render import render_report
from expunge.runs.artifacts import unlearned_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.kind import Kind
from expunge.runs.recipe import BaseRecipe
from expunge.runs.registry import kind_of
from expunge.runs.story import Story
from expunge.train.processes import count, first_alone, is_first

RESUMES = "run the same command again: it resumes"


def run(recipe: BaseRecipe, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Forget, and measure how well: everything a run does, in order.

    Args:
        recipe: what to forget, of which model, how.
        out: the run folder; an unfinished run of the same recipe resumes.
        show: shows progress.

    Returns:
        The finished run folder.

    Raises:
        ExpungeError: with what happened, where, and the next step; earlier results stay.
    """
    kind, at_work = kind_of(recipe), Run(recipe, RunFolder(out), show or Silent())
    folder = at_work.folder
    try:
        with interruptible(f"{RESUMES} in {folder.path}"):
            story = kind.make_story(at_work)
            if not is_first():
                at_work.show = Silent()
            folder.refuse_moved(at_work.recipe.model_dump(mode="json"))
            folder.refuse_base(story.base_folder())
            if count() > 1 and not kind.processes:
                raise RecipeError(
                    f"{kind.words} are trained in one process",
                    seen=f"{count()} processes",
                    next_step="start expunge without a launcher",
                )
            with folder.held():
                folder.log("threads", **in_use())
                # The others read what the first one prepared.
                first_alone(lambda: _prepared(story), story.read)
                trained = story.unlearn()
                first_alone(lambda: finish(kind, story, trained))
    finally:
        at_work.show.close()
    return folder


def _prepared(story: Story) -> None:
    story.read()
    story.prepare()


def finish(kind: Kind, story: Story, trained: dict[str, Any]) -> None:
    """Measure the saved model; write scores, record, model card and report.

    Args:
        trained: what was noted when the model was saved.
    """
    at_work = story.run
    folder = at_work.folder
    outcome = story.outcome(trained)
    folder.write_scores(outcome.scores)
    record = make_record(at_work, kind.make_evidence(), story.method, outcome, trained)
    storage.write_json(folder.record, record)
    card = model_card(folder, base_model=outcome.base.hub_id, license=record["license"])
    storage.write_text(folder.model / "README.md", card)
    render_report(folder)
    folder.log("finished", passed=record["verdict"]["passed"])


def evaluate_run(recipe: BaseRecipe, folder: RunFolder, show: Silent | None = None) -> list[Score]:
    """Measure a finished run again and write its scores, record and report; what was measured before is reused.

    Args:
        recipe: the run's, maybe with more to measure.

    Raises:
        RunError: the run is not finished, or its model, its data or its recipe were changed since.
    """
    found = unlearned_model(folder)
    if found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    trained, made_from = found
    kind, story = _again(recipe, folder, show)
    try:
        with interruptible(RESUMES), folder.locked():
            folder.refuse_moved(story.run.recipe.model_dump(mode="json"))
            story.reread(made_from)
            story.prepare()
            # Report and record, and the next evaluation, speak of what was measured last.
            storage.write_text(folder.recipe, story.run.recipe.to_yaml())
            finish(kind, story, trained)
    finally:
        story.run.show.close()
    return folder.read_scores()


def evaluate_model(model: str, recipe: BaseRecipe, path: Path, show: Silent | None = None) -> list[Score]:
    """Measure any model on the data of a run; cached in that run's folder.

    Args:
        path: the run's `recipe.yaml`.
    """
    folder = RunFolder(path.parent)
    if path.name != folder.recipe.name or not folder.stages.is_dir():
        raise RunError(
            f"{path} is not the recipe of a run, and a run's data is what is measured on",
            allowed="the recipe.yaml inside a run folder",
        )
    _, story = _again(recipe, folder, show)
    try:
        with interruptible(RESUMES), folder.locked():
            folder.refuse_moved(story.run.recipe.model_dump(mode="json"))
            found = unlearned_model(folder)
            made_from: Mapping[str, Any] | None = None if found is None else found[1]
            story.reread(made_from)
            return story.scores_of(model)
    finally:
        story.run.show.close()


def _again(recipe: BaseRecipe, folder: RunFolder, show: Silent | None) -> tuple[Kind, Story]:
    kind = kind_of(recipe)
    return kind, kind.make_story(Run(recipe, folder, show or Silent()))
