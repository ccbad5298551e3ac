"""Folders that have no generator which can be trained here: each error says what it holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)

from expunge.errors import ExpungeError, ModelError
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import generator_side, load_generator, patch_side
from expunge.models.source import locate

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
DECODER = {f"decoder_{name}": value for name, value in SIZES.items()}


def mae(folder: Path, **changes: Any) -> None:
    config = ViTMAEConfig(**SIZES, **DECODER, **({"image_size": 16, "patch_size": 4} | changes))
    ViTMAEForPreTraining(config).save_pretrained(folder)


def unet(folder: Path, **changes: Any) -> None:
    diffusers = pytest.importorskip("diffusers")
    blocks = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    size = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 16}
    diffusers.UNet2DModel(in_channels=6, out_channels=3, **(blocks | size | changes)).save_pretrained(folder)


def latent(folder: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4).save_pretrained(folder)


def decoder_alone(folder: Path) -> None:
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=9)).save_pretrained(folder)


def encoder_alone(folder: Path) -> None:
    CLIPVisionModel(CLIPVisionConfig(**SIZES, image_size=16, patch_size=8)).save_pretrained(folder)


def written(content: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        mae(folder)
        (folder / "config.json").write_text(content)

    return make


FOLDERS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "decoder alone": (decoder_alone, ["not an image-to-image generator with an encoder", "gpt2 (GPT2LMHeadModel)"]),
    "encoder alone": (encoder_alone, ["not an image-to-image generator with an encoder", "clip_vision_model"]),
    "autoencoder of another kind": (
        latent,
        ["not an image-to-image generator", "AutoencoderKL", "VQModel or UNet2DModel"],
    ),
    "grey": (lambda folder: mae(folder, num_channels=1), ["cannot complete colour pictures of 16 x 16", "3 channels"]),
    "no square": (
        lambda folder: unet(folder, sample_size=(16, 24)),
        ["does not take square pictures", "sample_size [16, 24]"],
    ),
    "asks for a class": (lambda folder: unet(folder, num_class_embeds=4), ["cannot complete", "the corrupted picture"]),
    "torn": (written("{"), ["config.json is not a model configuration", "save_pretrained"]),
    "a list": (written("[]"), ["config.json is not a model configuration"]),
    "empty": (written("{}"), ["not an image-to-image generator", "no model_type (no architecture named)"]),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_it_is_told_what_the_folder_holds(name: str, tmp_path: Path) -> None:
    make, parts = FOLDERS[name]
    make(tmp_path)
    with pytest.raises(ModelError) as caught:
        load_generator(locate(str(tmp_path)), 16, Corruption("random-patches"))
    for part in parts:
        assert part in str(caught.value)


def test_weights_that_are_no_numbers_are_told(tmp_path: Path) -> None:
    mae(tmp_path)
    model: Any = ViTMAEForPreTraining.from_pretrained(tmp_path)
    model.vit.embeddings.cls_token.data.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="not finite"):
        load_generator(locate(str(tmp_path)), 16, Corruption("random-patches"))


def test_a_size_may_be_a_pair_or_open(tmp_path: Path) -> None:
    unet(tmp_path, sample_size=(16, 16))
    assert generator_side(tmp_path, "x") == 16
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"sample_size": None}))
    assert generator_side(tmp_path, "x") is None
    assert patch_side(tmp_path, "x") == 8
    load_generator(locate(str(tmp_path)), 24, Corruption("center-crop"))
    with pytest.raises(ExpungeError, match="hides 0 of 9"):
        load_generator(locate(str(tmp_path)), 24, Corruption("random-patches", 0.01))
