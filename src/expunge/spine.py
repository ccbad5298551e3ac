"""A run, as a story: read the data, make or load the models, measure, unlearn, measure again, record, report.

It is the same for every kind of model; the kind's folder says what each part does. Every part is cached in the run folder,
so the same command resumes where it stopped.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.memory import out_of_memory
from expunge.core.processes import first_alone, is_first, launched, launched_to_spread, refuse_launcher
from expunge.core.progress import Silent
from expunge.core.score import Score, scores_on_all
from expunge.core.threads import in_use
from expunge.errors import RecipeError, RunError
from expunge.report.model_card import model_card
from expunge.report.record import make_record
from expunge.report.render import render_report
from expunge.report.sampled import compared, drawn
from expunge.report.verify import Finding
from expunge.runs.artifacts import unlearned_model
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.format import read_record
from expunge.runs.kind import Kind
from expunge.runs.kinds import read_recipe
from expunge.runs.recipe import BaseRecipe
from expunge.runs.registry import kind_of
from expunge.runs.shown import noted
from expunge.runs.story import Story
from expunge.runs.trackers import check_trackers, tracked

OF_THE_MODEL = ("-unlearned-", "-other-")
"in the names of stages that hold what was measured of an unlearned model"
RESUMES = "run the same command again: it resumes"


def run(recipe: BaseRecipe, out: str | Path, show: Silent | None = None, log_with: Sequence[str] = ()) -> RunFolder:
    """Forget, and measure how well: everything a run does, in order; an unfinished run of the same recipe resumes.

    Args:
        log_with: trackers that figures are sent to, too.

    Raises:
        ExpungeError: with what happened, where, and the next step; earlier results stay.
    """
    folder = RunFolder(out)
    refuse_processes(kind_of(recipe))
    check_trackers(log_with)
    with at_work(recipe, folder, show, f"{RESUMES} in {folder.path}") as (kind, story):
        folder.refuse_moved(story.run.recipe.model_dump(mode="json"))
        folder.refuse_base(story.base_folder())
        quiet_others(story)
        with folder.held(), noted(story.run) if is_first() else contextlib.nullcontext():
            folder.log("threads", **in_use())
            story.begin()
            with tracked(folder, story.run.recipe, log_with if is_first() else ()):
                trained = story.unlearn()
                first_alone(lambda: finish(kind, story, trained))
    return folder


def quiet_others(story: Story) -> None:
    """Of several processes the first one alone shows progress."""
    if not is_first():
        story.run.show = Silent()


def refuse_processes(kind: Kind) -> None:
    """Raise unless runs on this kind of model work in as many processes as there are, with weights spread or not.

    Before they join: one that has left would be missed by those that are about to.
    """
    if launched() > 1 and not kind.processes:
        raise RecipeError(
            f"{kind.words} are trained in one process, and measured there",
            seen=f"{launched()} processes",
            next_step="start expunge without a launcher",
        )
    if launched_to_spread() and not kind.spreads:
        raise RecipeError(
            f"weights of {kind.words} are not spread over processes (FSDP): each has all of them",
            seen="ACCELERATE_USE_FSDP",
            next_step="start without --use_fsdp",
        )


@contextlib.contextmanager
def at_work(
    recipe: BaseRecipe, folder: RunFolder, show: Silent | None, resumes: str = RESUMES
) -> Iterator[tuple[Kind, Story]]:
    """What a recipe asks for; a signal ends it with what `resumes` says, and its display is closed."""
    kind, at_work = kind_of(recipe), Run(recipe, folder, show or Silent())
    try:
        with interruptible(resumes):
            yield kind, kind.make_story(at_work)
    except (MemoryError, RuntimeError) as error:
        if (explained := out_of_memory(error)) is not None:
            raise explained from error
        raise
    finally:
        at_work.show.close()


def finish(kind: Kind, story: Story, trained: dict[str, Any]) -> None:
    """Measure the saved model, of which `trained` was noted; write scores, record, model card and report."""
    folder = story.run.folder
    outcome = story.outcome(trained)
    folder.write_scores(outcome.scores)
    record = make_record(story.run, kind.make_evidence(), story.method, outcome, trained)
    storage.write_json(folder.record, record)
    card = model_card(folder, base_model=outcome.base.hub_id, license=record["license"])
    storage.write_text(folder.model / "README.md", card)
    render_report(folder)
    folder.log("finished", passed=record["verdict"]["passed"])


def evaluate_run(recipe: BaseRecipe, folder: RunFolder, show: Silent | None = None) -> list[Score]:
    """Measure a finished run again, by a recipe with maybe more to measure, and write its scores, record and report.

    Raises:
        RunError: the run is not finished, or its model, its data or its recipe were changed since.
    """
    refuse_processes(kind_of(recipe))
    found = unlearned_model(folder)
    if found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    trained, made_from = found
    with at_work(recipe, folder, show) as (kind, story):
        quiet_others(story)

        def again() -> None:
            with folder.locked():
                folder.refuse_moved(story.run.recipe.model_dump(mode="json"))
                story.reread(made_from)
                story.prepare()
                # Report and record, and the next evaluation, speak of what was measured last.
                storage.write_text(folder.recipe, story.run.recipe.to_yaml())
                finish(kind, story, trained)

        first_alone(again)
    return folder.read_scores()


def measure_again(
    recipe: BaseRecipe,
    folder: RunFolder,
    wanted: Collection[tuple[str, str]],
    show: Silent | None = None,
    model: str | None = None,
) -> list[Score]:
    """Scores of a finished run's model from its saved weights, on the run's data; nothing is written to the folder.

    What the run prepared (texts, tokens, prompts) is read; what it measured of this model is not.

    Args:
        wanted: (measure, split) of the scores; there may be more in what is returned.
        model: another model to measure on the run's data.

    Raises:
        RunError: the run is not finished, or its model, its data or its recipe were changed since.
    """
    refuse_launcher("a finished run is measured again by")
    found = unlearned_model(folder)
    if found is None and model is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    folder.refuse_moved(recipe.model_dump(mode="json"))
    with tempfile.TemporaryDirectory(prefix="expunge-verify-") as place:
        aside = RunFolder(place).create()
        for path in folder.stages.iterdir():
            if not any(mark in path.name for mark in OF_THE_MODEL):
                (aside.stages / path.name).symlink_to(path.resolve())
        for path in (folder.target, folder.anchors, folder.recipe):
            if path.exists():
                (aside.path / path.name).symlink_to(path.resolve())
        with at_work(recipe, aside, show, "run the same command again: it starts again") as (_, story):
            story.reread(None if found is None else found[1])
            return story.scores_again(model or str(folder.model), wanted)


def sampled_findings(folder: RunFolder, number: int, show: Silent | None = None) -> list[Finding]:
    """Whether this many of a finished run's scores, drawn by lot, come out again from its saved model."""
    stored = drawn(folder.read_scores(), number)
    record = read_record(folder.record) or {}
    again = measure_again(read_recipe(folder.recipe), folder, {(each.measure, each.split) for each in stored}, show)
    return compared(stored, again, narrow="bfloat16" in str(record.get("arithmetic")))


def evaluate_model(model: str, recipe: BaseRecipe, path: Path, show: Silent | None = None) -> list[Score]:
    """Measure any model on the data of the run whose `recipe.yaml` is at `path`; cached in that run's folder."""
    refuse_processes(kind_of(recipe))
    folder = RunFolder(path.parent)
    if path.name != folder.recipe.name or not folder.stages.is_dir():
        raise RunError(
            f"{path} is not the recipe of a run, and a run's data is what is measured on",
            allowed="the recipe.yaml inside a run folder",
        )
    with at_work(recipe, folder, show) as (_, story):
        quiet_others(story)

        def scores() -> list[Score]:
            with folder.locked():
                folder.refuse_moved(story.run.recipe.model_dump(mode="json"))
                found = unlearned_model(folder)
                story.reread(None if found is None else found[1])
                return story.scores_of(model)

        return scores_on_all(scores)
