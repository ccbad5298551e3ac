"""What a recipe names on disk: settled once, when a run begins, so that later commands may be typed anywhere."""

from __future__ import annotations

import os
from pathlib import Path

from expunge.data.images.hub import fetch
from expunge.data.text.targets import classify_target, missing_target, nothing_to_read
from expunge.kinds.classifier.model import NEW
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.generator.model import NEW as NEW_GENERATORS
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.language.recipe import Recipe, Toxicity
from expunge.kinds.language.toxicity.scorer import DEFAULT
from expunge.kinds.language.toxicity.statements import HUB
from expunge.kinds.language.toxicity.toxic_text import prompt_files
from expunge.models.starter import STARTERS


def settle(recipe: Recipe) -> Recipe:
    """The recipe with the kind of its target filled in, and every path that it names as an absolute one.

    Raises:
        DataError: a target or retain set that looks like a path, or is said to be one, and is not there.
    """
    kind = classify_target(recipe.forget) if recipe.forget_kind == "auto" else recipe.forget_kind
    on_disk = kind == "path" or (kind == "toxicity" and recipe.forget != HUB)
    if on_disk and not os.path.exists(os.path.expanduser(recipe.forget)):
        raise missing_target(recipe.forget)
    if kind == "toxicity" and recipe.toxicity.prompts is None:
        recipe = recipe.model_copy(update={"toxicity": _with_prompts(recipe)})
    retain = recipe.retain
    if retain is not None:
        kept_kind = classify_target(retain, may_be_topic=False)
        if kept_kind == "topic":
            raise nothing_to_read(retain)
        retain = _absolute(retain) if kept_kind == "path" else retain
    evaluation = recipe.evaluation
    benchmarks = evaluation.benchmarks
    return recipe.model_copy(
        update={
            "forget": _absolute(recipe.forget) if on_disk else recipe.forget,
            "forget_kind": kind,
            "retain": retain,
            "model": recipe.model if recipe.model in STARTERS else _if_there(recipe.model),
            "retrained": _if_there(recipe.retrained),
            "toxicity": recipe.toxicity.model_copy(
                update={
                    "prompts": _if_given(recipe.toxicity.prompts),
                    "groups": _if_given(recipe.toxicity.groups),
                    "scorer": _scorer(recipe.toxicity.scorer),
                }
            ),
            "anchors": recipe.anchors.model_copy(update={"path": _if_given(recipe.anchors.path)}),
            "evaluation": evaluation.model_copy(
                update={
                    "prompts": _if_given(evaluation.prompts),
                    "questions": _if_given(evaluation.questions),
                    "benchmarks": benchmarks if benchmarks == "hub" else _if_given(benchmarks),
                    "ordinary_text": _if_there(evaluation.ordinary_text),
                }
            ),
        }
    )


def _with_prompts(recipe: Recipe) -> Toxicity:
    """What toxicity is measured with: prompts that lie beside the tables, or those of the hub."""
    place = fetch(recipe.statements.hub_prompts, ["*.jsonl"]) if recipe.forget == HUB else Path(recipe.forget)
    prompts, groups = prompt_files(place.expanduser()) if place.expanduser().is_dir() else (None, None)
    named = {"prompts": prompts, "groups": recipe.toxicity.groups or groups}
    return recipe.toxicity.model_copy(
        update={name: None if file is None else str(file) for name, file in named.items()}
    )


def settle_images(recipe: ImageRecipe) -> ImageRecipe:
    """The recipe with every path that it names as an absolute one."""
    named = {name: _if_there(getattr(recipe, name)) for name in ("data", "test_data", "forget")}
    model = recipe.model if recipe.model in NEW else _if_there(recipe.model)
    retrained = recipe.retrained if recipe.retrained in ("train", "none") else _if_there(recipe.retrained)
    return recipe.model_copy(update=named | {"model": model, "retrained": retrained})


def settle_generator(recipe: GeneratorRecipe) -> GeneratorRecipe:
    """The recipe with every path that it names as an absolute one, and with or without a retrained model."""
    named = {name: _if_there(getattr(recipe, name)) for name in ("data", "forget", "retain")}
    new = recipe.model in NEW_GENERATORS
    model = recipe.model if new else _if_there(recipe.model)
    retrained: str | None = recipe.retrained
    if retrained == "auto":
        retrained = "train" if new else "none"
    elif retrained not in ("train", "none"):
        retrained = _if_there(retrained)
    network = recipe.network
    if network.model not in NEW:
        network = network.model_copy(update={"model": _if_there(network.model)})
    return recipe.model_copy(update=named | {"model": model, "retrained": retrained, "network": network})


def _scorer(name: str) -> str:
    """A scorer's name, whose folder, where it is one, may have a label behind it."""
    place, mark, label = name.partition("#")
    return name if name == DEFAULT else f"{_if_there(place)}{mark}{label}"


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _if_given(path: str | None) -> str | None:
    return None if path is None else _absolute(path)


def _if_there(name: str | None) -> str | None:
    """A path where it is one; else it may be the name of a starter model, or an id on a hub."""
    return name if name is None or not Path(os.path.expanduser(name)).exists() else _absolute(name)
