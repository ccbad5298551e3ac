"""A recipe file of any kind: its `task` says which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.errors import RecipeError, nearest
from expunge.image_recipe import ImageRecipe, make_image_recipe
from expunge.recipe import Recipe, make_recipe, read_fields

LANGUAGE, IMAGES = "causal_lm", "image_classifier"


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> Recipe | ImageRecipe:
    """Read a recipe file, with dotted overrides laid over it, as the kind that its field `task` names.

    Raises:
        RecipeError: no such file, no such kind, or a field that the kind does not have.
    """
    fields = read_fields(path)
    if _kind(path, fields) is ImageRecipe:
        return make_image_recipe(fields, overrides or {}, where=str(path))
    return make_recipe({k: v for k, v in fields.items() if k != "task"}, overrides or {}, where=str(path))


def recipe_kind(path: Path) -> type[Recipe] | type[ImageRecipe]:
    """The kind of recipe that a file holds. Raises as `read_recipe`."""
    return _kind(path, read_fields(path))


def _kind(path: Path, fields: Mapping[str, Any]) -> type[Recipe] | type[ImageRecipe]:
    task = fields.get("task", LANGUAGE)
    if task in (LANGUAGE, IMAGES):
        return ImageRecipe if task == IMAGES else Recipe
    near = nearest(str(task), (LANGUAGE, IMAGES))
    raise RecipeError(
        f"{path}: there is no task {task!r}",
        allowed=f"{LANGUAGE} (the default), {IMAGES}",
        next_step=f"did you mean {near}?" if near else None,
    )
