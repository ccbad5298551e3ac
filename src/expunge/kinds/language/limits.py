"""Limits of a language model: the length of texts it takes, and the tokens it knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.source import ModelSource, configuration
from expunge.models.tokenizers import vocabulary

if TYPE_CHECKING:
    from expunge.kinds.language.inputs import Sets

NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length", "n_ctx")
"its name in configurations"
FROM_PADDING = ("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text")
"kinds that count positions from after the padding token, which is 1: two positions are never used"

SHORTEST = 16
"tokens of a block, at least; as in the recipe"
CHUNK = 1 << 22
"tokens checked at once"


def positions(config: Any) -> int | None:
    """Longest text in tokens; None if the configuration names no limit, as with recurrent models.

    Models with a table of positions (GPT-2, OPT) cannot take more; those with rotary positions were not trained for
    more.
    """
    text = config.get_text_config()
    for name in NAMES:
        said = getattr(text, name, None)
        if isinstance(said, int) and not isinstance(said, bool) and said > 0:
            return said - 2 if getattr(text, "model_type", "") in FROM_PADDING else said
    return None


def fit_prompts(
    prompts: Sequence[Sequence[int]], max_new_tokens: int, limit: int | None
) -> tuple[list[list[int]], int, list[str]]:
    """(prompts, new tokens, notices) that a model of `limit` positions can continue.

    If they do not fit, new tokens take at most half of the positions, and a prompt longer than the rest loses
    its beginning; other answers keep their length.
    """
    whole = [list(prompt) for prompt in prompts]
    longest = max(map(len, whole), default=0)
    if limit is None or longest + max_new_tokens <= limit:
        return whole, max_new_tokens, []
    new = max(1, min(max_new_tokens, limit // 2))
    room = max(1, limit - new)
    notices = []
    if new < max_new_tokens:
        notices.append(f"answers have at most {new} tokens and not {max_new_tokens}: the model takes {limit} in all")
    if long := sum(len(prompt) > room for prompt in whole):
        notices.append(f"{long} prompts lost their beginning: with its answer the model takes {limit} tokens")
    return [prompt[-room:] for prompt in whole], new, notices


def refuse_unknown_tokens(ids: Sequence[int], known: int, tokenizer: Any, prompt: str) -> None:
    """Raise `DataError` if a prompt has a token beyond the model's `known` ones."""
    if ids and (largest := max(ids)) >= known:
        raise DataError(
            "a prompt has a token that the model does not have",
            seen=f"number {largest}, {tokenizer.decode([largest])!r}, in {prompt[:80]!r}",
            allowed=f"numbers below {known}",
            next_step="remove it from the prompt, or give the tokenizer that belongs to the model",
        )


def fit_lengths(recipe: Recipe, source: ModelSource) -> tuple[Recipe, list[str]]:
    """(recipe, notices): blocks no longer than the base model's positions.

    A length that the user left to the default is shortened, and a notice says so.

    Raises:
        RecipeError: a length that the user gave is too long, or the model takes no texts of a useful length.
    """
    return fit_to(recipe, positions(configuration(source)), source.name)


def fit_to(recipe: Recipe, limit: int | None, name: str) -> tuple[Recipe, list[str]]:
    """`fit_lengths` to a model that takes at most `limit` tokens; None: any number."""
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
    """Raise if a model other than the run's own would be measured on blocks that are too long for it."""
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
    """Raise if a set has a token that a model does not have."""
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
    """Raise if the set `name` has a token beyond the `known` ones of a model."""
    for start in range(0, len(table.ids), CHUNK):
        found = np.asarray(table.ids[start : start + CHUNK])
        if (largest := int(found.max(initial=0))) >= known:
            block = int(np.searchsorted(table.ends, start + int(found.argmax()), side="right"))
            raise DataError(
                f"the {name} set has a token that {model} does not have",
                seen=f"number {largest}, in block {block + 1}",
                allowed=f"numbers below {known}",
                next_step="remove that piece of text (a special token of another model?), or give the tokenizer that "
                "belongs to the model",
            )
