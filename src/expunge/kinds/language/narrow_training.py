"""Training of all weights in bfloat16: for which methods, and what a reader of the results must know of it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from expunge.core import processes
from expunge.errors import RecipeError
from expunge.kinds.language.training_recipe import Training
from expunge.runs.method import Method


def weight_type(training: Training) -> torch.dtype:
    """The type in which weights are held that are trained."""
    found: torch.dtype = getattr(torch, training.weight_dtype)
    return found


def trains_narrow(method: Method) -> bool:
    """Whether a method can train weights in bfloat16: all that it does to them are steps of the loop, which rounds those."""
    return method.has_loss() and not method.makes_gradient()


def check_narrow(training: Training, method: Method, name: Any, adapted: bool = False) -> None:
    """Raise where weights in bfloat16 are asked for and cannot be trained so.

    Args:
        adapted: whether the model has adapters, which alone are trained.

    Raises:
        RecipeError: by this method, spread over processes, or under an adapter.
    """
    if training.weight_dtype == "float32":
        return
    if not trains_narrow(method):
        raise RecipeError(
            f"{name} changes the weights by more than steps of a loss, and in {training.weight_dtype} small changes are lost",
            seen=f"training.weight_dtype {training.weight_dtype}",
            allowed="a method that is a loss alone, such as npo, simnpo, gradient_difference",
            next_step="leave training.weight_dtype out",
        )
    if adapted:
        raise RecipeError(
            "of a model with an adapter the adapter alone is trained, in float32",
            seen=f"training.weight_dtype {training.weight_dtype}",
            next_step="leave weight_dtype out: the frozen weights stay in the type that they are in",
        )
    if processes.asked_to_spread():
        raise RecipeError(
            "weights that are spread over processes are trained in float32",
            seen=f"training.weight_dtype {training.weight_dtype}",
            next_step="leave training.weight_dtype out, or start without --use_fsdp",
        )


def narrow_notes(model: nn.Module, stored: torch.dtype) -> list[str]:
    """What is to be said of a model that is trained in bfloat16.

    Args:
        stored: the type that its weights came in.
    """
    found = []
    if stored != torch.bfloat16:
        name = str(stored).removeprefix("torch.")
        found.append(f"the base model is stored as {name}: its weights were rounded to bfloat16 before the first step")
    weights = {weight: weight.numel() for weight in model.parameters()}
    wide = sum(size for weight, size in weights.items() if weight.dtype != torch.bfloat16)
    if (share := wide / sum(weights.values())) > 0.1:
        found.append(
            f"{share:.0%} of the weights are trained in float32 all the same: they are no matrices of plain linear layers or "
            "embeddings, which alone are held in bfloat16"
        )
    return found
