"""Small pictures and classifiers for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageClassifier, Pictures


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


SMALL_IMAGES: dict[str, Any] = {
    "forget": "random:8",
    "images.size": 16,
    "allow_chance_base": True,  # two epochs teach nothing
    "fitting.num_train_epochs": 2,
    "fitting.per_device_train_batch_size": 16,
    "unlearning.num_train_epochs": 1,
    "unlearning.per_device_train_batch_size": 16,
}
"settings of a run on 64 pictures that does everything, a little of it"


def write_class_folders(
    folder: Path, count: int = 64, classes: Sequence[str] = ("ant", "bee", "cat", "dog"), side: int = 16
) -> Path:
    """Separable pictures as `folder/CLASS/NUMBER.png`."""
    made = pictures(count, len(classes), side=side)
    for number, (pixels, label) in enumerate(zip(made.pixels, made.labels.tolist(), strict=True)):
        path = folder / classes[label] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return folder


def save_tiny(task: ImageClassifier, folder: Path, names: Sequence[str] | None = None) -> Path:
    """A user's own model folder, as `save_pretrained` writes it; classes named where `names` is given."""
    model: Any = task.model
    if names is not None:
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: number for number, name in enumerate(names)}
    model.save_pretrained(folder)
    return folder
