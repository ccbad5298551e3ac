"""Image-to-image generators: loaded from a folder or the hub, or new with random weights; saved for
`from_pretrained`."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from expunge.core import storage
from expunge.errors import ExpungeError, ModelError, first_line
from expunge.kinds.classifier.model import normalisation, pretrained, write_preprocessor
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator import diffusers_models
from expunge.kinds.generator.autoencoders import MaskedAutoencoder, VqAutoencoder
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.palette import Palette
from expunge.kinds.generator.task import ImageToImage
from expunge.models.fit import without_bars
from expunge.models.source import ModelSource
from expunge.train.precision import found_device

MAE, VQ, UNET = "vit_mae", "VQModel", "UNet2DModel"
TASKS: dict[str, type[ImageToImage]] = {MAE: MaskedAutoencoder, VQ: VqAutoencoder, UNET: Palette}
"tasks by a configuration's architecture (`model_type` or `_class_name`)"

PATCH = 8
"pixels of the patches that a corruption hides where the model itself has none"


def _masked_autoencoder(patch: int, encoder: Sequence[int], decoder: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """Architecture and settings; encoder and decoder: width, layers, heads, width inside a layer."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    inside = {f"decoder_{name}": value for name, value in zip(names, decoder, strict=True)}
    return MAE, {"patch_size": patch, **dict(zip(names, encoder, strict=True)), **inside}


NEW: dict[str, tuple[str, dict[str, Any]]] = {
    "mae-small": _masked_autoencoder(8, (160, 4, 5, 640), (128, 2, 4, 512)),  # 1.7 million weights
    "mae-tiny": _masked_autoencoder(4, (16, 1, 2, 32), (16, 1, 2, 32)),
    "vq-small": (
        VQ,
        {
            "in_channels": 3,
            "out_channels": 3,
            "down_block_types": ("DownEncoderBlock2D",) * 3,
            "up_block_types": ("UpDecoderBlock2D",) * 3,
            "block_out_channels": (16, 32, 64),
            "layers_per_block": 1,
            "latent_channels": 16,
            "vq_embed_dim": 16,
            "num_vq_embeddings": 512,
            "norm_num_groups": 8,
        },
    ),
    "palette-small": (
        UNET,
        {
            "in_channels": 6,
            "out_channels": 3,
            "down_block_types": ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
            "up_block_types": ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
            "block_out_channels": (16, 32, 64),
            "layers_per_block": 1,
            "norm_num_groups": 8,
        },
    ),
}
"models trained here from random weights, by name: architecture and settings; vq and palette need diffusers"


def new_generator(name: str, size: int, corruption: Corruption, seed: int) -> ImageToImage:
    """One of `NEW` with random weights that depend on `seed` alone, for pictures of `size`, on the device found.

    Raises:
        ModelError: pictures that cannot be cut into its patches.
        RecipeError: a package that it needs is missing.
    """
    kind, settings = NEW[name]
    patch = new_patch(name)
    if size % patch:
        raise ModelError(
            f"{name} cuts pictures into patches of {patch} pixels",
            seen=f"images.size {size}",
            allowed=f"a multiple of {patch}",
            next_step=f"--images.size {patch * max(1, round(size / patch))}",
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == MAE:
            config = ViTMAEConfig(image_size=size, num_channels=3, mask_ratio=0.75, norm_pix_loss=False, **settings)
            model: nn.Module = ViTMAEForPreTraining(config)
            _initialise(model)
        else:
            model = diffusers_models.new_model(kind, settings, size)
    return TASKS[kind](model.eval().to(found_device()), replace(corruption, patch=patch))


def _initialise(model: Any) -> None:
    """Initialise as in He et al. 2021 (appendix A.1); transformers leaves positions and tokens at 0.

    Linear layers Xavier uniform, the two tokens normal with standard deviation 0.02, positions fixed sines and
    cosines of row and column.
    """
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for token in (model.vit.embeddings.cls_token, model.decoder.mask_token):
            nn.init.normal_(token, std=0.02)
        for positions in (model.vit.embeddings.position_embeddings, model.decoder.decoder_pos_embed):
            cells = math.isqrt(positions.shape[1] - 1)
            positions[0, 0] = 0
            positions[0, 1:] = grid_positions(cells, positions.shape[2])


def grid_positions(cells: int, width: int) -> Tensor:
    """(cells * cells, width) sines and cosines of the row, then of the column, at wavelengths from 2 pi to 20,000 pi.

    Source: Vaswani et al. 2017 (arXiv:1706.03762, section 3.5), for each direction with half of the width.
    """
    quarter = width // 4
    rates = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    angles = torch.arange(cells, dtype=torch.float64)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)
    rows = line[:, None].expand(cells, cells, -1)
    columns = line[None].expand(cells, cells, -1)
    both = torch.cat([rows, columns], 2).reshape(cells * cells, -1)
    return F.pad(both, (0, width - both.shape[1])).float()


def new_patch(name: str) -> int:
    """Patch size of one of `NEW`, in pixels."""
    return int(NEW[name][1].get("patch_size", PATCH))


def generator_side(folder: Path, name: str) -> int | None:
    """Height and width in pixels that a saved generator takes; None if its configuration does not say.
    Raises `ModelError` for another architecture, or pictures that are not square."""
    config = _configuration(folder, name)
    key = "image_size" if _kind(config) == MAE else "sample_size"
    return None if config.get(key) is None else _square(config[key], key, name)


def patch_side(folder: Path, name: str) -> int:
    """Patch size in pixels."""
    return _square(_configuration(folder, name).get("patch_size", PATCH), "patch_size", name)


def _square(value: Any, key: str, name: str) -> int:
    """Read a side in pixels, which a configuration may also give as height and width."""
    sides = set(value) if isinstance(value, list) else {value}
    side = sides.pop() if len(sides) == 1 else None
    if not isinstance(side, int) or side < 1:
        raise ModelError(f"{name} does not take square pictures", seen=f"{key} {value}", allowed="one side in pixels")
    return side


def _configuration(folder: Path, name: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = _kind(config)
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(
            f"{folder / 'config.json'} is not a model configuration",
            seen=error,
            allowed="a JSON object, as save_pretrained writes it",
        ) from error
    if kind not in TASKS:
        raise ModelError(
            f"{name} is not an image-to-image generator with an encoder that can be trained here",
            seen=f"{kind} ({', '.join(config.get('architectures') or ['no architecture named'])})",
            allowed="a folder or hub id of ViTMAEForPreTraining, or of diffusers' VQModel or UNet2DModel; new ones: "
            + ", ".join(NEW),
        )
    return config


def _kind(config: dict[str, Any]) -> str:
    return str(config.get("model_type") or config.get("_class_name") or "no model_type")


def load_generator(source: ModelSource, size: int, corruption: Corruption) -> ImageToImage:
    """Load a generator that takes pictures of `size`, on the device found.

    Raises:
        ModelError: another architecture or size, missing weights, pixels normalised patch by patch, or a
            model that cannot complete a picture.
        RecipeError: a package that it needs is missing.
    """
    config = _configuration(source.folder, source.name)
    kind = _kind(config)
    model = _load_autoencoder(source, config) if kind == MAE else diffusers_models.load_model(kind, source)
    side = generator_side(source.folder, source.name)
    if side not in (None, size):
        raise ModelError(
            f"{source.name} takes pictures of {side} pixels",
            seen=f"images.size {size}",
            next_step=f"leave images.size out, or give {side}",
        )
    if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
        raise ModelError(f"{source.name} holds weights that are not finite", allowed="a model that works")
    corruption = replace(corruption, patch=patch_side(source.folder, source.name))
    model = model.eval().to(found_device())
    channels = normalisation(source.folder)
    if kind == UNET:
        schedule = diffusers_models.load_schedule(source)
        task: ImageToImage = Palette(model, corruption, *channels, schedule=schedule)
    else:
        task = TASKS[kind](model, corruption, *channels)
    _try(task, size, source.name)
    return task


@torch.no_grad()
def _try(task: ImageToImage, size: int, name: str) -> None:
    """Raise if the model cannot complete a picture: better now than after an hour."""
    blank = Pictures(pixels=torch.zeros(1, 3, size, size, dtype=torch.uint8), labels=torch.zeros(1, dtype=torch.int64))
    row = torch.zeros(1, dtype=torch.int64)
    try:
        batch = task.batch(blank, row, keys=row)
        task.batch_features(batch)
        task.loss(batch)
    except ExpungeError:
        raise
    except Exception as error:  # whatever a model with other channels, conditions or blocks raises
        raise ModelError(
            f"{name} cannot complete colour pictures of {size} x {size} pixels",
            seen=first_line(error),
            allowed="a model with 3 channels that needs only the corrupted picture",
        ) from error


def _load_autoencoder(source: ModelSource, config: dict[str, Any]) -> nn.Module:
    if config.get("norm_pix_loss"):
        raise ModelError(
            f"{source.name} draws patches without their mean and contrast, which only the original picture has",
            seen="norm_pix_loss true",
            allowed="a masked autoencoder trained with norm_pix_loss false",
        )
    model, missing = pretrained(ViTMAEForPreTraining, source, "a masked autoencoder", NEW)
    if missing:
        raise ModelError(
            f"{source.name} lacks weights of a masked autoencoder",
            seen=", ".join(missing[:3]) + (f", and {len(missing) - 3} more" if len(missing) > 3 else ""),
            allowed="a trained one with encoder and decoder",
        )
    return model


def save_generator(task: ImageToImage, folder: Path, size: int) -> None:
    """Write `folder` whole or not at all: safetensors, config, and a preprocessor with size and normalisation.

    A diffusion model's noise schedule is saved with it, as diffusers reads it.
    """
    model: Any = task.model
    with storage.folder_aside(folder) as aside:
        with without_bars():
            model.save_pretrained(aside)
        write_preprocessor(aside, size, task.mean, task.std)
        if isinstance(task, Palette):
            storage.write_json(aside / diffusers_models.SCHEDULE, dict(task.schedule.config))
