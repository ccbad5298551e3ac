"""Measuring again: a run with more benchmarks or prompts, any other model on a run's sets, or a model's toxicity alone."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score
from expunge.errors import RecipeError, RunError
from expunge.kinds.language import pipeline
from expunge.kinds.language.inputs import Sets, read_sets, read_target
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.lengths import check_lengths, check_tokens
from expunge.kinds.language.measures.judged import judged_scores
from expunge.kinds.language.recipe import Recipe, Toxicity, load_recipe
from expunge.kinds.language.toxicity.measures import continue_all, score_all, toxicity_prompts, toxicity_scores
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.kinds.paths import settle
from expunge.models.source import find_model
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method
from expunge.train.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class More:
    """What else to measure: fields of the recipe's parts `evaluation` and `toxicity`; None leaves what is there."""

    benchmarks: str | None = None
    prompts: str | None = None
    ordinary_text: str | None = None
    toxicity_prompts: str | None = None
    toxicity_groups: str | None = None
    scorer: str | None = None

    def given(self) -> list[str]:
        return [each.name for each in fields(self) if getattr(self, each.name) is not None]


def _with(recipe: Recipe, more: More) -> Recipe:
    """The recipe with more to measure, and its paths settled."""
    evaluation = {name: getattr(more, name) for name in ("benchmarks", "prompts", "ordinary_text")}
    changed = recipe.evaluation.model_copy(update={k: v for k, v in evaluation.items() if v is not None})
    toxicity = _toxicity(recipe.toxicity, more)
    if more.scorer is not None and toxicity.prompts is None and toxicity.groups is None:
        raise RecipeError(
            "a scorer scores continuations of toxicity prompts, and the run names none",
            seen=f"--scorer {more.scorer}",
            next_step="give --toxicity-prompts FILE too",
        )
    return settle(recipe.model_copy(update={"evaluation": changed, "toxicity": toxicity}))


def _toxicity(part: Toxicity, more: More) -> Toxicity:
    named = {"prompts": more.toxicity_prompts, "groups": more.toxicity_groups, "scorer": more.scorer}
    return part.model_copy(update={name: value for name, value in named.items() if value is not None})


WORDS = {
    "forget": "the forget set",
    "model": "the base model",
    "kept": "what is kept",
    "method": "the recipe's method",
    "training": "the recipe's training",
    "reinforcement": "the recipe's reinforcement",
    "save_dtype": "the recipe's save_dtype",
    "seed": "the recipe's seed",
}
"what the unlearned model was made from, as `unlearned_from` names it"


def _sets_of(
    made_from: dict[str, Any] | None, recipe: Recipe, folder: RunFolder, base: LazyModel, show: Silent
) -> Sets:
    """The run's sets, which must be those that its unlearned model was made from, where there is one.

    Raises:
        RunError: the target, the base model, or what else went into the model was changed since.
    """
    if made_from is not None:
        # These are known at once; others only after text was sampled.
        early = {"forget": read_target(recipe, folder, base, show)[1].folder.name, "model": base.digest}
        _refuse_changed(made_from, early, folder)
    sets = read_sets(recipe, folder, base, show)
    if made_from is not None:
        _refuse_changed(made_from, pipeline.unlearned_from(recipe, base, sets), folder)
    return sets


def _refuse_changed(made_from: dict[str, Any], now: dict[str, Any], folder: RunFolder) -> None:
    changed = [words for name, words in WORDS.items() if name in now and now[name] != made_from[name]]
    if changed:
        raise RunError(
            f"the model in {folder.path} was made from something else than the folder holds now",
            seen=f"changed since: {', '.join(changed)}",
            next_step=f"make it anew: expunge run {folder.recipe} --out {folder.path}; or undo the change",
        )


def evaluate_run(folder: RunFolder, more: More, show: Silent | None = None) -> list[Score]:
    """Measure a finished run again and write its scores, record and report anew; what was measured before is reused."""
    show = show or Silent()
    recipe = _with(load_recipe(folder.recipe), more)
    found = pipeline.trained_model(folder)
    if found is None:
        raise RunError(
            f"{folder.path} has no unlearned model, or one that was changed since",
            next_step="run the command that started it again, to the end",
        )
    trained, made_from = found
    try:
        with interruptible("run the same command again: it goes on"), folder.locked():
            precision = Precision(recipe.training.bf16)
            folder.refuse_moved(recipe.model_dump(mode="json"))
            source = find_model(recipe.model, recipe.revision)
            base = LazyModel(source, precision)
            sets = _sets_of(made_from, recipe, folder, base, show)
            before = pipeline.measure(recipe, folder, base, sets, "base", show)
            base.release()
            # Report and record, and the next evaluation, speak of what was measured last.
            storage.write_text(folder.recipe, recipe.to_yaml())
            pipeline.finish(recipe, folder, source, precision, make_method(recipe.method), sets, before, trained, show)
    finally:
        show.close()
    return folder.read_scores()


def evaluate_toxicity(model: str, more: More, show: Silent | None = None) -> list[Score]:
    """Toxicity of any model, with the settings of a recipe that names nothing else; nothing is kept.

    Returns:
        The scores; the model is called `unlearned` in them, as with `evaluate_model`.
    """
    show = show or Silent()
    settings = _toxicity(Toxicity(), more)
    try:
        with interruptible("run the same command again: it begins anew"):
            prompts = toxicity_prompts(settings)
            scorer = load_scorer(settings.scorer)
            task = LazyModel(find_model(model), Precision(), as_stored=True)()
            show.stage("continuations")
            rows = continue_all(task, prompts, settings, 0, show.update)
            for note in task.notices:
                show.say(note)
            for row, values in zip(rows, score_all(rows, scorer), strict=True):
                row["values"] = values
            return toxicity_scores(rows, settings, scorer, "unlearned")
    finally:
        show.close()


def evaluate_model(model: str, recipe_path: Path, more: More, show: Silent | None = None) -> list[Score]:
    """Measure any model on the sets of the run whose `recipe.yaml` is given; kept in that run's stages."""
    show = show or Silent()
    recipe = _with(load_recipe(recipe_path), more)
    folder = RunFolder(recipe_path.parent)
    if recipe_path.name != folder.recipe.name or not folder.stages.is_dir():
        raise RunError(
            f"{recipe_path} is not the recipe of a run, and a run's sets are what is measured on",
            allowed="the recipe.yaml inside a run folder",
        )
    try:
        with interruptible("run the same command again: it goes on"), folder.locked():
            precision = Precision(recipe.training.bf16)
            folder.refuse_moved(recipe.model_dump(mode="json"))
            base = LazyModel(find_model(recipe.model, recipe.revision), precision)
            source = find_model(model)
            check_lengths(recipe, source)
            found = pipeline.trained_model(folder)
            sets = _sets_of(found[1] if found else None, recipe, folder, base, show)
            base.release()
            check_tokens(sets, source)
            other = LazyModel(source, precision, as_stored=True)
            measured = pipeline.measure(recipe, folder, other, sets, "unlearned", show)
            judged, notes = judged_scores({"unlearned": measured.grades})
            for note in (*other.notices, *notes):
                show.say(note)
            return measured.scores + judged
    finally:
        show.close()
