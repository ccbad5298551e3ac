"""Image-to-image generators: from a folder or the hub, or new with random weights; saved as `from_pretrained` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, ViTMAEConfig, ViTMAEForPreTraining
from transformers.utils import logging

from expunge import storage
from expunge.errors import ModelError
from expunge.models.image_model import normalisation, write_preprocessor
from expunge.models.source import ModelSource
from expunge.tasks.corruption import Corruption
from expunge.tasks.image_to_image import ImageToImage
from expunge.tasks.masked_autoencoder import MaskedAutoencoder

NEW: dict[str, dict[str, Any]] = {
    # 1.8 million weights
    "mae-small": {
        "patch_size": 8,
        "hidden_size": 160,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "intermediate_size": 640,
        "decoder_hidden_size": 128,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 4,
        "decoder_intermediate_size": 512,
    },
    "mae-tiny": {
        "patch_size": 4,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 32,
    },
}
"models that are trained here from random weights, by name"

TYPES = ("vit_mae",)
"`model_type` of the configurations that can be loaded"


def new_generator(name: str, size: int, corruption: Corruption, seed: int) -> ImageToImage:
    """A masked autoencoder with random weights that depend on `seed` alone.

    Args:
        name: one of `NEW`.
        size: height and width of the pictures in pixels.

    Raises:
        ModelError: pictures that cannot be cut into its patches.
    """
    patch = NEW[name]["patch_size"]
    if size % patch:
        raise ModelError(
            f"{name} cuts pictures into patches of {patch} pixels",
            seen=f"images.size {size}",
            allowed=f"a multiple of {patch}",
            next_step=f"--images.size {patch * max(1, round(size / patch))}",
        )
    config = ViTMAEConfig(image_size=size, num_channels=3, mask_ratio=0.75, norm_pix_loss=False, **NEW[name])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedAutoencoder(ViTMAEForPreTraining(config).eval(), fitted_to(corruption, patch))


def fitted_to(corruption: Corruption, patch: int) -> Corruption:
    """The corruption with the model's patches."""
    return Corruption(corruption.name, corruption.strength, patch)


def generator_side(folder: Path, name: str) -> int:
    """Height and width in pixels that a saved generator takes.

    Raises:
        ModelError: a model of another architecture.
    """
    config = _configuration(folder, name)
    return int(config["image_size"])


def patch_side(folder: Path, name: str) -> int:
    """Side of a patch in pixels."""
    return int(_configuration(folder, name)["patch_size"])


def _configuration(folder: Path, name: str) -> dict[str, Any]:
    config: dict[str, Any] = storage.read_json(folder / "config.json")
    kind = config.get("model_type") or config.get("_class_name") or "no model_type"
    if kind not in TYPES:
        raise ModelError(
            f"{name} is no image-to-image generator with an encoder that can be trained here",
            seen=f"{kind} ({', '.join(config.get('architectures') or ['no architecture named'])})",
            allowed="a folder or hub id of ViTMAEForPreTraining; new ones: " + ", ".join(NEW),
        )
    return config


def load_generator(source: ModelSource, size: int, corruption: Corruption) -> ImageToImage:
    """Load a generator that takes pictures of `size`.

    Raises:
        ModelError: another architecture, missing weights, another size, or pixels that it normalises patch by patch.
    """
    config = _configuration(source.folder, source.name)
    if config.get("norm_pix_loss"):
        raise ModelError(
            f"{source.name} draws patches whose mean and contrast were taken out, and these only the original has",
            seen="norm_pix_loss true",
            allowed="a masked autoencoder trained with norm_pix_loss false",
        )
    logging.disable_progress_bar()
    try:
        model, info = ViTMAEForPreTraining.from_pretrained(
            source.folder, trust_remote_code=False, use_safetensors=True, output_loading_info=True, dtype=torch.float32
        )
    except Exception as error:  # transformers and safetensors raise nearly anything
        raise ModelError(
            f"{source.name} cannot be loaded as a masked autoencoder",
            seen=(str(error).strip().splitlines() or [type(error).__name__])[0][:300],
            allowed="a folder or hub id that ViTMAEForPreTraining reads; new ones: " + ", ".join(NEW),
        ) from error
    finally:
        logging.enable_progress_bar()
    missing = sorted(info["missing_keys"])
    if missing:
        raise ModelError(
            f"{source.name} lacks weights of a masked autoencoder",
            seen=", ".join(missing[:3]) + (f", and {len(missing) - 3} more" if len(missing) > 3 else ""),
            allowed="a trained one with encoder and decoder",
        )
    if model.config.image_size != size:
        raise ModelError(
            f"{source.name} takes pictures of {model.config.image_size} pixels",
            seen=f"images.size {size}",
            next_step=f"leave images.size out, or give {model.config.image_size}",
        )
    if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
        raise ModelError(f"{source.name} holds weights that are no numbers", allowed="a model that works")
    return MaskedAutoencoder(
        model.eval(), fitted_to(corruption, model.config.patch_size), *normalisation(source.folder)
    )


def save_generator(task: ImageToImage, folder: Path, size: int) -> None:
    """Write `folder` whole or not at all: safetensors, config, and a preprocessor that says size and normalisation."""
    model = task.model
    assert isinstance(model, PreTrainedModel)
    with storage.folder_aside(folder) as aside:
        logging.disable_progress_bar()
        try:
            model.save_pretrained(aside)
        finally:
            logging.enable_progress_bar()
        write_preprocessor(aside, size, task.mean, task.std)
