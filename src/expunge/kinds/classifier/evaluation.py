"""Measuring a classifier's run again, or any other classifier on a run's pictures."""

from __future__ import annotations

from typing import Any

from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.errors import RunError
from expunge.kinds.classifier import pipeline as pipeline
from expunge.kinds.classifier.measures.scores import image_scores
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.sharded_classifier.model import locate_classifier
from expunge.runs.artifacts import trained_model
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method

AGAIN = "run the same command again: it goes on"


def evaluate_images_run(recipe: ImageRecipe, folder: RunFolder, show: Silent | None = None) -> list[Score]:
    """Measure a finished run again and write its scores, record and report anew; what was measured before is reused.

    Raises:
        RunError: the run is not finished, or its model, its pictures or its recipe were changed since.
    """
    show = show or Silent()
    found = trained_model(folder)
    if found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    trained, made_from = found
    try:
        with interruptible(AGAIN), folder.held():
            show.stage("reading the pictures")
            sets = pipeline.read_sets(recipe)
            refuse_changed(recipe, folder, sets, made_from)
            base = pipeline.base_model(recipe, folder, sets, show)
            oracle = pipeline.retrained_model(recipe, folder, sets, show)
            pipeline.finish(recipe, folder, make_method(recipe.method), sets, base, oracle, trained, show)
    finally:
        show.close()
    return folder.read_scores()


def evaluate_classifier(model: str, recipe: ImageRecipe, folder: RunFolder, show: Silent | None = None) -> list[Score]:
    """Measure any classifier on the pictures of a run; kept in that run's stages."""
    show = show or Silent()
    if not folder.stages.is_dir():
        raise RunError(
            f"{folder.path} is not a run, and a run's pictures are what is measured on",
            allowed="the recipe.yaml inside a run folder",
        )
    try:
        with interruptible(AGAIN), folder.held():
            show.stage("reading the pictures")
            sets = pipeline.read_sets(recipe)
            found = trained_model(folder)
            if found is not None:
                refuse_changed(recipe, folder, sets, found[1])
            source = locate_classifier(model)
            outputs = pipeline.measure(folder, source, sets, "unlearned", show)
            oracle = pipeline.retrained_model(recipe, folder, sets, show)
            reference = pipeline.measure(folder, oracle.source, sets, "retrained", show) if oracle else None
            scores = image_scores(outputs, "unlearned", reference, pipeline.stranger(recipe, sets))
            if oracle is not None:
                scores += pipeline.weight_distances({"unlearned": source}, oracle.source, sets)
            return scores
    finally:
        show.close()


def refuse_changed(recipe: ImageRecipe, folder: RunFolder, sets: ImageSets, made_from: dict[str, Any]) -> None:
    """Raise unless the pictures and the recipe are those that the run's model was made from."""
    refuse_difference(pipeline.unlearned_from(recipe, sets), made_from, folder)


def refuse_difference(now: dict[str, Any], made_from: dict[str, Any], folder: RunFolder) -> None:
    """Raise unless what a run's model would be made from `now` is what it was made from."""
    names = {"sets": "the pictures", "seed": "the recipe's seed"}
    changed = [names.get(name, f"the recipe's {name}") for name in now if now[name] != made_from.get(name)]
    if changed:
        raise RunError(
            f"the model in {folder.path} was made from something else than there is now",
            seen=f"changed since: {', '.join(changed)}",
            next_step=f"make it anew in another folder: expunge run {folder.recipe} --out FOLDER; or undo the change",
        )
