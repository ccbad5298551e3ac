"""How much of a picture is left at each step of a diffusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

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
    return NoiseSchedule(bounded(torch.cumprod(1.0 - betas, 0)), FAR, config, assumed)


def bounded(kept: Tensor) -> Tensor:
    """Shares as float64 between `LEAST` and `MOST`."""
    return kept.double().clamp(LEAST, MOST)
