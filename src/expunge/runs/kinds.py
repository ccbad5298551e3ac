"""Finding kinds of models: those of expunge by folder, those of other packages by the entry point group
`expunge.kinds`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from expunge.errors import RecipeError, did_you_mean
from expunge.runs.kind import Kind
from expunge.runs.plugins import found_in
from expunge.runs.recipe import BaseRecipe, make, read_fields

DEFAULT_TASK = "causal_lm"
"the default task of a recipe"


@cache
def kinds_by_name() -> dict[str, Kind]:
    """Every kind of model that is installed."""
    found: list[Kind] = found_in("expunge.kinds", "kind", "KIND")
    found.sort(key=lambda kind: (kind.task != DEFAULT_TASK, kind.task, kind.name != kind.task))
    return {kind.name: kind for kind in found}


def kinds_of(task: str) -> list[Kind]:
    """The kinds of models that share a task; the one with its name comes first."""
    return [kind for kind in kinds_by_name().values() if kind.task == task]


def task_of(recipe: BaseRecipe) -> str:
    return str(getattr(recipe, "task", DEFAULT_TASK))


def main_kind(recipe: BaseRecipe) -> Kind:
    """The kind that a recipe's task is named after; no method is looked at."""
    return kinds_of(task_of(recipe))[0]


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> BaseRecipe:
    """Read a recipe file, with dotted overrides, as the kind of its field `task`.

    Raises:
        RecipeError: no such file, no such task, or a field that the kind does not have.
    """
    fields = read_fields(path)
    return make(_recipe_class(path, fields), fields, overrides or {}, where=str(path))


def recipe_class(path: Path) -> type[BaseRecipe]:
    """The class of the recipe in a file. Raises as `read_recipe`."""
    return _recipe_class(path, read_fields(path))


def _recipe_class(path: Path, fields: Mapping[str, Any]) -> type[BaseRecipe]:
    task = fields.get("task", DEFAULT_TASK)
    if isinstance(task, str) and (found := kinds_of(task)):
        return found[0].recipe
    tasks = dict.fromkeys(kind.task for kind in kinds_by_name().values())
    raise RecipeError(
        f"{path}: there is no task {task!r}",
        allowed=f"{DEFAULT_TASK} (the default), " + ", ".join(each for each in tasks if each != DEFAULT_TASK),
        next_step=did_you_mean(str(task), tasks),
    )
