"""Resolve a recipe's paths and its kind of target, once, when a run begins. Without torch."""

from __future__ import annotations

import os
from pathlib import Path

from expunge.data.images.hub import fetch
from expunge.data.text.row_forms import FIELDS, used_fields
from expunge.data.text.targets import classify_target, missing_target, nothing_to_read
from expunge.errors import RecipeError
from expunge.kinds.language.recipe import HUB, Recipe, Toxicity, load_recipe
from expunge.kinds.language.topics import check_topics, with_listed_topics
from expunge.kinds.language.toxicity.scorer import DEFAULT
from expunge.kinds.language.toxicity.toxic_text import prompt_files
from expunge.models.folders import check_named
from expunge.models.starter import STARTERS
from expunge.runs.folder import RunFolder
from expunge.runs.paths import absolute, absolute_if_given, absolute_if_there


def resolve_paths(recipe: Recipe) -> Recipe:
    """The recipe with the kind of its target filled in, and every path made absolute.

    Raises:
        DataError: a target or retain set that looks like a path, or is declared one, and does not exist.
        RecipeError: columns of fields that do not make a row.
    """
    recipe = with_listed_topics(recipe)
    columns = recipe.data.columns
    if columns and set(used_fields(columns)) != set(columns):
        raise RecipeError(
            "data.columns names fields that do not make a row",
            seen=", ".join(columns),
            allowed=f"{FIELDS}: all of one row",
        )
    kind = classify_target(recipe.forget) if recipe.forget_kind == "auto" else recipe.forget_kind
    also = _further(recipe, kind) if recipe.forget_also else ()
    if also and "path" in (kind, *(classify_target(each) for each in also)):
        kind = "path"
    first_on_disk = kind == "path" and (not also or classify_target(recipe.forget) == "path")
    on_disk = first_on_disk or (kind == "toxicity" and recipe.forget != HUB)
    if on_disk and not os.path.exists(os.path.expanduser(recipe.forget)):
        raise missing_target(recipe.forget)
    if kind == "toxicity" and recipe.toxicity.prompts is None:
        recipe = recipe.model_copy(update={"toxicity": _with_prompts(recipe)})
    evaluation = recipe.evaluation
    benchmarks = evaluation.benchmarks
    return recipe.model_copy(
        update={
            "forget": absolute(recipe.forget) if on_disk else recipe.forget,
            "forget_also": also,
            "forget_kind": kind,
            "retain": text_place(recipe.retain),
            "holdout": text_place(recipe.holdout),
            "model": recipe.model if recipe.model in STARTERS else absolute_if_there(recipe.model),
            "retrained": absolute_if_there(recipe.retrained),
            "toxicity": recipe.toxicity.model_copy(
                update={
                    "prompts": absolute_if_given(recipe.toxicity.prompts),
                    "groups": absolute_if_given(recipe.toxicity.groups),
                    "scorer": _scorer(recipe.toxicity.scorer),
                }
            ),
            "anchors": recipe.anchors.model_copy(update={"path": absolute_if_given(recipe.anchors.path)}),
            "evaluation": evaluation.model_copy(
                update={
                    "prompts": absolute_if_given(evaluation.prompts),
                    "questions": absolute_if_given(evaluation.questions),
                    "benchmarks": benchmarks if benchmarks == "hub" else absolute_if_given(benchmarks),
                    "ordinary_text": absolute_if_there(evaluation.ordinary_text),
                }
            ),
        }
    )


def held_recipe(folder: RunFolder, recipe: Recipe) -> tuple[Recipe, Recipe | None]:
    """The recipe with its paths resolved, and the recipe that the run folder already holds, if any.

    Raises:
        ExpungeError: as `resolve_paths`.
    """
    held = load_recipe(folder.recipe) if folder.recipe.is_file() else None
    if held is not None and (held.forget, held.forget_kind, recipe.forget_kind) == (recipe.forget, "topic", "auto"):
        # It stays a topic, even if a file of that name exists since.
        recipe = recipe.model_copy(update={"forget_kind": "topic"})
    return resolve_paths(recipe), held


def refuse_missing(recipe: Recipe, folder: RunFolder | None, weights: bool) -> None:
    """Raise for a missing target, set or file of the recipe, and for an unknown model.

    Args:
        folder: that of the run, if there will be one.
        weights: whether a model will be loaded; else a configuration is enough.

    Raises:
        ExpungeError: as `resolve_paths` and `check_named`; of files to measure with, a DataError.
    """
    held = None
    if recipe.forget != HUB:  # datasets of the hub are fetched when the run begins
        recipe, held = (resolve_paths(recipe), None) if folder is None else held_recipe(folder, recipe)
    for name in (recipe.model, recipe.retrained) if weights else (recipe.model,):
        if name is not None:
            check_named(name, weights)
    if held is None:
        evaluation = recipe.evaluation
        refuse_missing_files(recipe.anchors.path, evaluation.prompts, evaluation.questions, evaluation.benchmarks)


def refuse_missing_files(*places: str | None) -> None:
    """Raise `DataError` for a missing file or folder; datasets of the hub are not checked."""
    for place in places:
        if place is not None and place != HUB and not os.path.exists(os.path.expanduser(place)):
            raise missing_target(place, "an existing path")


def text_place(name: str | None) -> str | None:
    """Where a set's text is: an absolute path, or the id of a dataset."""
    if name is None:
        return None
    kind = classify_target(name, may_be_topic=False)
    if kind == "topic":
        raise nothing_to_read(name)
    return absolute(name) if kind == "path" else name


def _further(recipe: Recipe, kind: str) -> tuple[str, ...]:
    """Further targets, with paths made absolute.

    Raises:
        RecipeError: topics mixed with files, or several tables of toxicity, of which a run takes one; a target inside
            another.
        DataError: as `classify_target`.
    """
    if recipe.forget_kind == "topic":
        return check_topics(recipe.targets)[1:]
    kinds = {recipe.forget: kind} | {each: classify_target(each) for each in recipe.forget_also}
    if set(kinds.values()) == {"topic"}:
        return check_topics(recipe.targets)[1:]
    for each, found in kinds.items():
        if found not in ("path", "dataset"):
            raise RecipeError(
                f"several targets in one run are all topics, or all files, folders or datasets, and {each!r} is not",
                seen=", ".join(map(repr, recipe.targets)),
                next_step="put a topic of several words in quotes; use one run for the topics and "
                "one for the files, or write what is known of the topics into a file",
            )
    places = [Path(each).expanduser().resolve() for each, found in kinds.items() if found == "path"]
    twice = [one for one in places if any(other in one.parents for other in places)]
    if twice or len(kinds) < len(recipe.targets):
        raise RecipeError(
            "a target is named twice, or is inside another one",
            seen=str(twice[0]) if twice else ", ".join(recipe.targets),
            next_step="name it once",
        )
    return tuple(absolute(each) if kinds[each] == "path" else each for each in recipe.forget_also)


def _with_prompts(recipe: Recipe) -> Toxicity:
    """The prompts to measure toxicity with: those next to the tables, or those of the hub."""
    place = fetch(recipe.statements.hub_prompts, ["*.jsonl"]) if recipe.forget == HUB else Path(recipe.forget)
    prompts, groups = prompt_files(place.expanduser()) if place.expanduser().is_dir() else (None, None)
    named = {"prompts": prompts, "groups": recipe.toxicity.groups or groups}
    return recipe.toxicity.model_copy(
        update={name: None if file is None else str(file) for name, file in named.items()}
    )


def _scorer(name: str) -> str:
    """A scorer's name; if it is a folder, a label may follow it."""
    place, mark, label = name.partition("#")
    return name if name == DEFAULT else f"{absolute_if_there(place)}{mark}{label}"
