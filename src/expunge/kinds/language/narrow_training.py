"""Training of all weights in bfloat16: which methods can do it, and notes for readers of the results."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from expunge.core import processes
from expunge.errors import RecipeError
from expunge.kinds.language.training_recipe import Training
from expunge.runs.method import Method


def weight_type(training: Training) -> torch.dtype:
    """The dtype of trained weights."""
    found: torch.dtype = getattr(torch, training.weight_dtype)
    return found


def trains_narrow(method: Method) -> bool:
    """Whether a method can train weights in bfloat16: it changes them only by steps of the loop, which handles the
    rounding."""
    return method.has_loss() and not method.makes_gradient()


def check_narrow(training: Training, method: Method, name: Any, adapted: bool = False) -> None:
    """Raise if the recipe wants weights in bfloat16 and they cannot be trained so.

    Args:
        adapted: whether the model has adapters; then only those are trained.

    Raises:
        RecipeError: not with this method, sharded over processes, or with an adapter.
    """
    if training.weight_dtype == "float32":
        return
    if not trains_narrow(method):
        raise RecipeError(
            f"{name} changes the weights not only by steps of a loss, and in {training.weight_dtype} small changes are lost",
            seen=f"training.weight_dtype {training.weight_dtype}",
            allowed="a method that is only a loss, such as npo, simnpo, gradient_difference",
            next_step="leave training.weight_dtype out",
        )
    if adapted:
        raise RecipeError(
            "with an adapter, only the adapter is trained, in float32",
            seen=f"training.weight_dtype {training.weight_dtype}",
            next_step="leave weight_dtype out: the frozen weights keep their dtype",
        )
    if processes.asked_to_spread():
        raise RecipeError(
            "weights that are sharded over processes are trained in float32",
            seen=f"training.weight_dtype {training.weight_dtype}",
            next_step="leave training.weight_dtype out, or start without --use_fsdp",
        )


def narrow_notes(model: nn.Module, stored: torch.dtype) -> list[str]:
    """Notes on a model that is trained in bfloat16.

    Args:
        stored: the dtype of its stored weights.
    """
    found = []
    if stored != torch.bfloat16:
        name = str(stored).removeprefix("torch.")
        found.append(f"the base model is stored as {name}: its weights were rounded to bfloat16 before the first step")
    weights = {weight: weight.numel() for weight in model.parameters()}
    wide = sum(size for weight, size in weights.items() if weight.dtype != torch.bfloat16)
    if (share := wide / sum(weights.values())) > 0.1:
        found.append(
            f"{share:.0%} of the weights are still trained in float32: they are not matrices of plain linear layers or "
            "embeddings, and only those are stored in bfloat16"
        )
    return found
