"""A run's sets against what its models can take: lengths of blocks before anything is made, tokens before they are used."""

from __future__ import annotations

import numpy as np

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.limits import positions
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.limits import vocabulary
from expunge.models.source import ModelSource, configuration

SHORTEST = 16
"tokens of a block, at least; as the recipe says"


def fit_lengths(recipe: Recipe, source: ModelSource) -> tuple[Recipe, list[str]]:
    """(recipe, notices): blocks no longer than the base model's positions.

    A length that the user left to the default is shortened, and a notice says so.

    Raises:
        RecipeError: a length that the user gave is too long, or the model takes no texts of a useful length.
    """
    return fit_to(recipe, positions(configuration(source)), source.name)


def fit_to(recipe: Recipe, limit: int | None, name: str) -> tuple[Recipe, list[str]]:
    """`fit_lengths` to a model that takes so many tokens; None: any number."""
    if limit is None:
        return recipe, []
    if limit < SHORTEST:
        raise RecipeError(
            f"{name} takes texts of at most {limit} tokens, and a block has at least {SHORTEST}",
            next_step="give another model",
        )
    notices = []
    if recipe.data.block_size > limit:
        if "block_size" in recipe.data.model_fields_set:
            raise _too_long("data.block_size", recipe.data.block_size, limit, name)
        notices.append(
            f"blocks have {limit} tokens and not {recipe.data.block_size} (data.block_size): the model takes no more"
        )
        recipe = recipe.model_copy(update={"data": recipe.data.model_copy(update={"block_size": limit})})
    if (recipe.evaluation.ordinary_block_size or 0) > limit:
        raise _too_long("evaluation.ordinary_block_size", recipe.evaluation.ordinary_block_size, limit, name)
    return recipe, notices


def _too_long(field: str, size: int | None, limit: int, name: str) -> RecipeError:
    return RecipeError(
        f"blocks are longer than the texts that {name} takes",
        seen=f"{field} {size}",
        allowed=f"at most {limit} tokens",
        next_step=f"--{field} {limit}",
    )


def check_lengths(recipe: Recipe, source: ModelSource) -> None:
    """Raise where another model than the run's own is to be measured on blocks that are too long for it."""
    limit = positions(configuration(source))
    longest = max(recipe.data.block_size, recipe.evaluation.ordinary_block_size or 0)
    if limit is not None and longest > limit:
        raise RecipeError(
            f"the run's blocks are longer than the texts that {source.name} takes",
            seen=f"{longest} tokens",
            allowed=f"at most {limit} tokens",
            next_step=f"measure it on a run whose data.block_size is {limit} or less",
        )


def check_tokens(sets: Sets, source: ModelSource) -> None:
    """Raise where a set holds a token that a model does not have."""
    known = vocabulary(configuration(source), source.folder)
    material = sets.material
    tables = {
        "forget": sets.forms[1] if sets.forms else material.forget,
        "retain": material.retain,
        "ordinary": material.ordinary,
        "kept": sets.kept,
    }
    for name, table in tables.items():
        for part in (table, table.preferred):
            if part is not None:
                check_table(name, part, known, source.name)


def check_table(name: str, table: TokenTable, known: int, model: str) -> None:
    """Raise where the set `name` holds a token beyond the `known` ones of a model."""
    for start in range(0, len(table.ids), CHUNK):
        found = np.asarray(table.ids[start : start + CHUNK])
        if (largest := int(found.max(initial=0))) >= known:
            block = int(np.searchsorted(table.ends, start + int(found.argmax()), side="right"))
            raise DataError(
                f"the {name} set holds a token that {model} does not have",
                seen=f"number {largest}, in block {block + 1}",
                allowed=f"numbers below {known}",
                next_step="take that piece of text out (a special token of another model?), or give the tokenizer that "
                "belongs to the model",
            )


CHUNK = 1 << 22
"tokens that are looked at at once"
