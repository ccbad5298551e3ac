"""Measuring a generator's run again, or any other generator on a run's pictures."""

from __future__ import annotations

from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.errors import RunError
from expunge.kinds.classifier.evaluation import AGAIN, refuse_difference
from expunge.kinds.generator import pipeline as pipeline
from expunge.kinds.generator.completions import measure
from expunge.kinds.generator.judge_network import group_of, originals_of, the_network
from expunge.kinds.generator.measures.scores import completion_scores
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.models.source import locate
from expunge.runs.artifacts import trained_model
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method


def evaluate_generator_run(recipe: GeneratorRecipe, folder: RunFolder, show: Silent | None = None) -> list[Score]:
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
            corruption, sets = pipeline.corruption_of(recipe), pipeline.read_sets(recipe)
            refuse_difference(pipeline.unlearned_from(recipe, sets, corruption), made_from, folder)
            base = pipeline.base_model(recipe, folder, sets, corruption, show)
            oracle = pipeline.retrained_model(recipe, folder, sets, corruption, show)
            method = make_method(recipe.method)
            pipeline.finish(recipe, folder, method, sets, corruption, base, oracle, trained, show)
    finally:
        show.close()
    return folder.read_scores()


def evaluate_generator(
    model: str, recipe: GeneratorRecipe, folder: RunFolder, show: Silent | None = None
) -> list[Score]:
    """Measure any generator on the pictures of a run; kept in that run's stages."""
    show = show or Silent()
    if not folder.stages.is_dir():
        raise RunError(
            f"{folder.path} is not a run, and a run's pictures are what is measured on",
            allowed="the recipe.yaml inside a run folder",
        )
    try:
        with interruptible(AGAIN), folder.held():
            show.stage("reading the pictures")
            corruption, sets = pipeline.corruption_of(recipe), pipeline.read_sets(recipe)
            network, about = the_network(recipe, folder, sets, corruption, show)
            originals = originals_of(recipe, sets, network, corruption, about)
            found = measure(
                recipe, folder, locate(model), sets, corruption, network, str(about["digest"]), "unlearned", show
            )
            return completion_scores(found, originals, "unlearned", group_of(sets, about))
    finally:
        show.close()
