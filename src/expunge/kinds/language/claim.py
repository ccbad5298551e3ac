"""Check whether a run folder is free for a run, or holds the same run already."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from expunge.errors import DataError
from expunge.kinds.language.limits import check_lengths
from expunge.kinds.language.measures.two_answers import read_two_answers
from expunge.kinds.language.paths import held_recipe, resolve_paths
from expunge.kinds.language.recipe import MEASURING, Recipe
from expunge.kinds.language.terms.anchors import load_anchors
from expunge.models.source import find_model
from expunge.runs.folder import RunFolder


def claim(folder: RunFolder, recipe: Recipe) -> Recipe:
    """Resolve the paths that the recipe names and write it, or check that the folder belongs to the same run.

    Only the measures may change (`MEASURING`): the model stays the same, and so do its thresholds. While there is no
    model yet, the step to end at and settings that change only memory may change, too.
    """
    recipe, held = held_recipe(folder, recipe)
    if held is not None:
        with suppress(DataError):  # its paths are absolute ones already; they may be those of another machine
            held = resolve_paths(held)
        if not folder.model.exists() or any(folder.checkpoints.iterdir()):
            now = {name: getattr(recipe.training, name) for name in ("stop_step", "gradient_checkpointing")}
            held = held.model_copy(update={"training": held.training.model_copy(update=now)})
        recipe = _with_more(recipe, held)
    _look_up(recipe)
    folder.claim(
        recipe.model_dump(mode="json"),
        recipe.to_yaml(),
        free=(*MEASURING, "audit"),  # its limits are fixed at its start
        held=None if held is None else held.model_dump(mode="json"),
    )
    return recipe


def _look_up(recipe: Recipe) -> None:
    """Raise if something needed late in a run is not usable: before the folder is claimed, so that it can be
    corrected."""
    if recipe.retrained is not None:
        check_lengths(recipe, find_model(recipe.retrained))
    if recipe.anchors.path is not None:
        load_anchors(Path(recipe.anchors.path))
    if recipe.evaluation.questions is not None:
        read_two_answers(Path(recipe.evaluation.questions))


def _with_more(recipe: Recipe, held: Recipe) -> Recipe:
    """Add what `evaluate` added to the run, which the command that started it does not name."""
    added = ("benchmarks", "prompts", "questions", "ordinary_text")
    kept = {name: getattr(held.evaluation, name) for name in added if getattr(recipe.evaluation, name) is None}
    evaluation = recipe.evaluation.model_copy(update=kept)
    names_prompts = recipe.toxicity.prompts is not None or recipe.toxicity.groups is not None
    toxicity = recipe.toxicity if names_prompts else held.toxicity
    more = {"evaluation": evaluation, "toxicity": toxicity, "retrained": recipe.retrained or held.retrained}
    return recipe.model_copy(update=more)
