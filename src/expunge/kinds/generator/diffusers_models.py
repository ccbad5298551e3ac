"""Generators of the library diffusers, imported where one is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from expunge.core import storage
from expunge.errors import ModelError, RecipeError, first_line
from expunge.kinds.generator.noise_schedule import FAR, NoiseSchedule, bounded, cosine

SCHEDULE = "scheduler_config.json"
"the file next to a diffusion model with its noise schedule"
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
            seen=first_line(error),
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


def load_schedule(folder: Path, name: str) -> NoiseSchedule:
    """The noise schedule saved next to a diffusion model; default: the cosine one.

    Raises:
        ModelError: a file that diffusers' `DDIMScheduler` does not read, or of a model that says something else than the
            noise.
    """
    if not (folder / SCHEDULE).is_file():
        return cosine(assumed=True)
    kind = library().DDIMScheduler
    try:
        config = storage.read_json(folder / SCHEDULE)
        known = {scheduler.__name__ for scheduler in kind().compatibles}
        if config.get("_class_name") not in known:
            raise ValueError(f"_class_name {config.get('_class_name')}")
        if config.get("prediction_type", "epsilon") != "epsilon":
            raise ValueError(f"prediction_type {config['prediction_type']}")
        kept = bounded(kind.from_pretrained(folder).alphas_cumprod)
        farthest = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample") else FAR
    except Exception as error:  # diffusers raises nearly anything
        raise ModelError(
            f"the schedule of noise of {name} cannot be used ({SCHEDULE})",
            seen=first_line(error),
            allowed="a scheduler of diffusers with betas (DDPMScheduler, DDIMScheduler, ...), of a model that says the "
            "noise (prediction_type epsilon)",
        ) from error
    return NoiseSchedule(kept, farthest, config)
