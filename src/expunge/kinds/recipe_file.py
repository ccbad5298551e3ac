"""A recipe file of any kind: its `task` says which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.errors import RecipeError, nearest
from expunge.kinds.classifier.recipe import ImageRecipe, make_image_recipe
from expunge.kinds.generator.recipe import GeneratorRecipe, make_generator_recipe
from expunge.kinds.language.recipe import Recipe, make_recipe, read_fields

AnyRecipe = Recipe | ImageRecipe | GeneratorRecipe

LANGUAGE = "causal_lm"
KINDS: dict[str, type[Recipe] | type[ImageRecipe] | type[GeneratorRecipe]] = {
    LANGUAGE: Recipe,
    "image_classifier": ImageRecipe,
    "image_to_image": GeneratorRecipe,
}
"recipes by their task"


def read_recipe(path: Path, overrides: Mapping[str, Any] | None = None) -> AnyRecipe:
    """Read a recipe file, with dotted overrides laid over it, as the kind that its field `task` names.

    Raises:
        RecipeError: no such file, no such kind, or a field that the kind does not have.
    """
    fields = read_fields(path)
    kind = _kind(path, fields)
    if kind is ImageRecipe:
        return make_image_recipe(fields, overrides or {}, where=str(path))
    if kind is GeneratorRecipe:
        return make_generator_recipe(fields, overrides or {}, where=str(path))
    return make_recipe({k: v for k, v in fields.items() if k != "task"}, overrides or {}, where=str(path))


def recipe_kind(path: Path) -> type[Recipe] | type[ImageRecipe] | type[GeneratorRecipe]:
    """The kind of recipe that a file holds. Raises as `read_recipe`."""
    return _kind(path, read_fields(path))


def _kind(path: Path, fields: Mapping[str, Any]) -> type[Recipe] | type[ImageRecipe] | type[GeneratorRecipe]:
    task = fields.get("task", LANGUAGE)
    if isinstance(task, str) and task in KINDS:
        return KINDS[task]
    near = nearest(str(task), KINDS)
    raise RecipeError(
        f"{path}: there is no task {task!r}",
        allowed=f"{LANGUAGE} (the default), " + ", ".join(kind for kind in KINDS if kind != LANGUAGE),
        next_step=f"did you mean {near}?" if near else None,
    )
