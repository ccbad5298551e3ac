"""Small pictures and classifiers for tests."""

from __future__ import annotations

import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from expunge.engine.work import Work
from expunge.tasks.image_classifier import ImageClassifier, Pictures


def tiny_resnet(classes: int = 4, seed: int = 0) -> ImageClassifier:
    torch.manual_seed(seed)
    config = ResNetConfig(
        num_channels=3, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", num_labels=classes
    )
    return ImageClassifier(ResNetForImageClassification(config).eval())


def tiny_vit(classes: int = 4, seed: int = 0) -> ImageClassifier:
    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8,
        num_labels=classes,
    )  # fmt: skip
    return ImageClassifier(ViTForImageClassification(config).eval())


def pictures(count: int, classes: int = 4, seed: int = 0, side: int = 16) -> Pictures:
    """Separable pictures: each class is a colour and a bright corner, under noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    pixels = 90 + 25 * torch.randn(count, 3, side, side, generator=generator)
    for number, label in enumerate(labels.tolist()):
        pixels[number, label % 3] += 60
        half = side // 2
        pixels[number, :, (label // 2) * half :, (label % 2) * half :] += 30
    return Pictures(pixels=pixels.clamp(0, 255).to(torch.uint8), labels=labels)


def small_work(
    task: ImageClassifier, *, retain: int = 48, forget: int = 8, classes: int = 4, seed: int = 0, **more: object
) -> Work:
    everything = pictures(retain + forget + 16, classes)
    rows = torch.arange(len(everything))
    return Work(
        task=task,
        retain=everything.take(rows[:retain]),
        forget=everything.take(rows[retain : retain + forget]),
        validation=everything.take(rows[retain + forget :]),
        classes=classes,
        seed=seed,
        **more,  # type: ignore[arg-type]
    )
