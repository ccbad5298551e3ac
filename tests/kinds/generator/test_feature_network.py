"""Networks that measure pictures: classifiers, and models without classes such as CLIP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, ViTConfig, ViTModel

from expunge.errors import ModelError
from expunge.kinds.generator.feature_network import LAYERS, FeatureNetwork, load_network
from expunge.kinds.generator.judge_network import perceptual
from expunge.kinds.generator.measures import image_quality as quality
from expunge.models.source import locate
from small_images import pictures, save_tiny, tiny_resnet, tiny_vit

SIZES = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 16, "patch_size": 8}


def clip(folder: Path) -> None:
    text = SIZES | {"num_hidden_layers": 1, "vocab_size": 99}
    config = CLIPConfig(vision_config=SIZES | {"num_hidden_layers": 6}, text_config=text, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)


def clip_vision(folder: Path) -> None:
    CLIPVisionModel(CLIPVisionConfig(**SIZES, num_hidden_layers=2)).save_pretrained(folder)


def vit(folder: Path) -> None:
    ViTModel(ViTConfig(**SIZES, num_hidden_layers=2)).save_pretrained(folder)


def vit_classifier(folder: Path) -> None:
    save_tiny(tiny_vit(), folder)


def resnet_classifier(folder: Path) -> None:
    save_tiny(tiny_resnet(), folder)


KINDS: dict[str, tuple[Callable[[Path], None], int, int, int, int]] = {
    # how it is made; width of its features, classes, layers compared, places of the last of these
    "clip": (clip, 12, 0, LAYERS, 5),
    "clip vision": (clip_vision, 16, 0, 3, 5),
    "vit": (vit, 16, 0, 3, 5),
    "vit classifier": (vit_classifier, 16, 4, 3, 5),
    "resnet classifier": (resnet_classifier, 8, 4, 3, 28 * 28),
}


def load(make: Callable[[Path], None], folder: Path) -> FeatureNetwork:
    torch.manual_seed(0)
    make(folder)
    return load_network(locate(str(folder)))


@pytest.mark.parametrize("kind", KINDS)
def test_any_image_model_measures_by_its_folder(kind: str, tmp_path: Path) -> None:
    make, width, classes, layers, places = KINDS[kind]
    network = load(make, tmp_path)
    pixels = pictures(12, 4, side=20).pixels
    features, probabilities = network.measure(pixels)
    assert features.shape == (12, width)
    assert quality.frechet(features.numpy(), features.numpy()).value == pytest.approx(0, abs=1e-6)
    if classes:
        assert probabilities is not None
        assert probabilities.shape == (12, classes)
        assert 1 <= quality.inception_style(probabilities.numpy()).value <= classes
    else:
        assert probabilities is None
    found = network.layers(pixels)
    assert found is not None
    assert len(found) == layers
    assert found[-1].shape[2] == places
    assert perceptual(network, pixels, pixels) == pytest.approx(np.zeros(12), abs=1e-6)
    apart = perceptual(network, pixels, pixels.flip(0))
    assert apart is not None
    assert apart.shape == (12,)
    assert (apart > 0).all()
    assert perceptual(network, pixels.flip(0), pixels) == pytest.approx(apart)


def test_pictures_are_compared_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(resnet_classifier, tmp_path)
    ours, theirs = pictures(7, 4).pixels, pictures(7, 4, seed=1).pixels
    whole = perceptual(network, ours, theirs)
    monkeypatch.setattr("expunge.kinds.generator.judge_network.COMPARED", 3)
    assert perceptual(network, ours, theirs) == pytest.approx(whole, rel=1e-5)


def test_a_network_without_layers_is_not_asked_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load(vit, tmp_path)
    model: Any = network.model
    plain = model.forward

    def forward(*args: Any, output_hidden_states: bool = False, **given: Any) -> Any:
        return plain(*args, **given)

    monkeypatch.setattr(model, "forward", forward)
    pixels = pictures(2, 2).pixels
    assert network.layers(pixels) is None
    assert perceptual(network, pixels, pixels) is None


def test_what_says_nothing_of_a_picture_is_refused(tmp_path: Path) -> None:
    text = CLIPConfig(text_config=SIZES | {"num_hidden_layers": 1, "vocab_size": 99}).text_config
    from transformers import CLIPTextModel

    CLIPTextModel(text).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="cannot serve as a network that measures pictures"):
        load_network(locate(str(tmp_path)))
