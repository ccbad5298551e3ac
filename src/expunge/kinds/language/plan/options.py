"""Options that make a run fit, least intrusive first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from expunge.kinds.language.recipe import Recipe

RANK = 16


def cheaper(recipe: Recipe, narrow: bool) -> Iterator[dict[str, Any]]:
    """Sets of fields, starting with none, each needing less memory.

    Gradient checkpointing changes only time; smaller batches change which blocks share a step; moments in 8 bits round
    each update; weights in bfloat16 are rounded in each step; an adapter changes what is trained, and, with its base in
    8 or 4 bits, what it is trained on.

    Args:
        narrow: whether the weights can be trained in bfloat16.
    """
    training = recipe.training
    whole: list[dict[str, Any]] = [{}]
    if not training.gradient_checkpointing:
        whole.append({"training.gradient_checkpointing": True})
    if training.per_device_train_batch_size > 1:
        together = training.per_device_train_batch_size * training.gradient_accumulation_steps
        small = {
            "training.per_device_train_batch_size": 1,
            "training.gradient_accumulation_steps": together,
            "reinforcement.per_device_train_batch_size": 1,
        }
        whole.append(whole[-1] | small)
    yield from whole
    if training.optim == "adamw_torch" and training.adapter_rank is None:
        for fields in whole:
            yield {"training.optim": "adamw_bnb_8bit"} | fields
    if narrow and training.weight_dtype == "float32" and training.adapter_rank is None:
        eight = {"training.optim": "adamw_bnb_8bit"} if training.optim == "adamw_torch" else {}
        for fields in whole:
            yield {"training.weight_dtype": "bfloat16"} | eight | fields
    added: dict[str, Any] = {"training.adapter_rank": RANK}
    if training.weight_dtype != "float32":  # an adapter is
        added["training.weight_dtype"] = "float32"
    if training.adapter_rank is None:
        for fields in whole:
            yield added | fields
    if training.quantization is None and training.adapter_variant != "dora":
        rank = added if training.adapter_rank is None else {}
        for quantization in ("8bit", "4bit"):
            yield rank | {"training.quantization": quantization} | whole[-1]


def with_fields(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """The recipe with some of its fields set, by dotted name."""
    for name, value in fields.items():
        part, _, field = name.partition(".")
        changed = getattr(recipe, part).model_copy(update={field: value})
        recipe = recipe.model_copy(update={part: changed})
    return recipe


def typed(fields: dict[str, Any]) -> str:
    """Fields as options to type."""
    return " ".join(
        f"--{name} {str(value).lower() if isinstance(value, bool) else value}" for name, value in fields.items()
    )
