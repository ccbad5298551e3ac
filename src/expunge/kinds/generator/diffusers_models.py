"""Generators of the library diffusers, imported where one is used, and schedules of the noise of diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core import storage
from expunge.errors import ModelError, RecipeError, first_line
from expunge.models.source import ModelSource

SCHEDULE = "scheduler_config.json"
"the file next to a diffusion model with its noise schedule"
STEPS = 1000
"strengths of the noise where nothing else is said"
FAR = 3.0
"how far from 0 a normalised picture that is drawn may lie where nothing else is said"
LEAST, MOST = 1e-12, 1 - 1e-6
"limits of the share that is left, without which drawing would divide by 0"


@dataclass(frozen=True, slots=True, eq=False)
class NoiseSchedule:
    """The share of a picture's variance that is left at each step.

    Attributes:
        kept: (steps,) float64, between `LEAST` and `MOST`; diffusers calls it `alphas_cumprod`.
        farthest: what is drawn is cut off at this distance from 0.
        config: what `scheduler_config.json` says of it, as diffusers' `DDIMScheduler` reads it.
        assumed: whether a model came without one.
    """

    kept: Tensor
    farthest: float
    config: Mapping[str, Any]
    assumed: bool = False


def cosine(assumed: bool = False) -> NoiseSchedule:
    """The cosine schedule (Nichol and Dhariwal 2021, arXiv:2102.09672, equation 17), between 0.001 and 0.9999.

    It is rounded as diffusers rounds it, so that a model that was saved and loaded again draws the same bits.
    """
    steps = torch.arange(1, STEPS + 1, dtype=torch.float64)
    wave = torch.cos((steps / STEPS + 0.008) / 1.008 * torch.pi / 2) ** 2
    start = torch.cos(torch.tensor(0.008 / 1.008 * torch.pi / 2, dtype=torch.float64)) ** 2
    kept = torch.cat([torch.ones(1, dtype=torch.float64), (wave / start).clamp(1e-3, 0.9999)])
    betas = (1 - kept[1:] / kept[:-1]).float()
    config = {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": STEPS,
        "trained_betas": betas.tolist(),
        "prediction_type": "epsilon",
        "clip_sample": True,
        "clip_sample_range": FAR,
        "timestep_spacing": "linspace",
    }
    return NoiseSchedule(_bounded(torch.cumprod(1.0 - betas, 0)), FAR, config, assumed)


def _bounded(kept: Tensor) -> Tensor:
    return kept.double().clamp(LEAST, MOST)


def library() -> Any:
    """The module diffusers. Raises `RecipeError` if it is not installed."""
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
    return getattr(library(), kind)(sample_size=size, **settings)


def load_model(kind: str, source: ModelSource) -> nn.Module:
    """Load a `VQModel` or a `UNet2DModel`.

    Raises:
        ModelError: it cannot be loaded, lacks weights, or takes other channels than those of pictures.
    """
    try:
        model, info = getattr(library(), kind).from_pretrained(
            source.folder,
            use_safetensors=True,
            output_loading_info=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
        )
    except RecipeError:
        raise
    except Exception as error:  # diffusers and safetensors raise nearly anything
        raise ModelError(
            f"{source.name} cannot be loaded as a {kind}",
            seen=first_line(error),
            allowed=f"a folder that diffusers' {kind}.from_pretrained reads",
        ) from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(f"{source.name} lacks weights", seen=", ".join(missing[:3]), allowed="a trained one")
    wanted = {"VQModel": (3, 3), "UNet2DModel": (6, 3)}[kind]
    seen = (model.config.in_channels, model.config.out_channels)
    if seen != wanted:
        raise ModelError(
            f"{source.name} takes other channels than a model that completes pictures",
            seen=f"{seen[0]} in, {seen[1]} out",
            allowed=f"{wanted[0]} in, {wanted[1]} out"
            + (" (the corrupted picture and the noisy one)" if kind == "UNet2DModel" else ""),
        )
    return model


def load_schedule(source: ModelSource) -> NoiseSchedule:
    """The noise schedule saved next to a diffusion model; default: the cosine one.

    Raises:
        ModelError: a file that diffusers' `DDIMScheduler` does not read, or of a model that says something else than the
            noise.
    """
    path = source.folder / SCHEDULE
    if not path.is_file():
        return cosine(assumed=True)
    kind = library().DDIMScheduler
    try:
        config = storage.read_json(path)
        known = {scheduler.__name__ for scheduler in kind().compatibles}
        if config.get("_class_name") not in known:
            raise ValueError(f"_class_name {config.get('_class_name')}")
        if config.get("prediction_type", "epsilon") != "epsilon":
            raise ValueError(f"prediction_type {config['prediction_type']}")
        kept = _bounded(kind.from_pretrained(source.folder).alphas_cumprod)
        farthest = float(config.get("clip_sample_range", 1.0)) if config.get("clip_sample") else FAR
    except Exception as error:  # diffusers raises nearly anything
        raise ModelError(
            f"the schedule of noise of {source.name} cannot be used ({SCHEDULE})",
            seen=first_line(error),
            allowed="a scheduler of diffusers with betas (DDPMScheduler, DDIMScheduler, ...), of a model that says the "
            "noise (prediction_type epsilon)",
        ) from error
    return NoiseSchedule(kept, farthest, config)
