"""Generators of the library diffusers, imported where one is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.errors import ModelError, RecipeError

CLASSES = ("VQModel", "UNet2DModel")
"`_class_name` of the configurations that can be loaded"


def library() -> Any:
    """The module diffusers.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        import diffusers
    except ImportError as error:
        raise RecipeError(
            "diffusion models and vector-quantised autoencoders need the extra diffusers",
            seen="the package diffusers is not installed",
            next_step="pip install 'expunge[diffusers]'",
        ) from error
    diffusers.utils.logging.set_verbosity_error()
    return diffusers


def new_model(kind: str, settings: dict[str, Any], size: int) -> nn.Module:
    """A model with random weights, drawn from torch's own generator."""
    model: nn.Module = getattr(library(), kind)(sample_size=size, **settings)
    return model


def load_model(kind: str, folder: Path, name: str) -> nn.Module:
    """Load a model of one of `CLASSES`.

    Raises:
        ModelError: it cannot be loaded, lacks weights, or takes other channels than those of pictures.
    """
    try:
        model, info = getattr(library(), kind).from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, low_cpu_mem_usage=False, torch_dtype=torch.float32
        )
    except RecipeError:
        raise
    except Exception as error:  # diffusers and safetensors raise nearly anything
        raise ModelError(
            f"{name} cannot be loaded as a {kind}",
            seen=(str(error).strip().splitlines() or [type(error).__name__])[0][:300],
            allowed=f"a folder that diffusers' {kind}.from_pretrained reads",
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{name} lacks weights", seen=", ".join(missing[:3]), allowed="a trained one")
    wanted = {"VQModel": (3, 3), "UNet2DModel": (6, 3)}[kind]
    seen = (model.config.in_channels, model.config.out_channels)
    if seen != wanted:
        raise ModelError(
            f"{name} takes other channels than a model that completes pictures",
            seen=f"{seen[0]} in, {seen[1]} out",
            allowed=f"{wanted[0]} in, {wanted[1]} out"
            + (" (the corrupted picture and the noisy one)" if kind == "UNet2DModel" else ""),
        )
    found: nn.Module = model
    return found
