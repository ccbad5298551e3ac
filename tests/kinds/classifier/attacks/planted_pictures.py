"""Tiny classifiers whose truth is known: what they know of a picture of noise, they have by heart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import ResNetConfig, ResNetForImageClassification

import expunge
from audit_checks import PlantedModels
from expunge.kinds.classifier.attacks.examples import known
from expunge.kinds.classifier.model import load_classifier, save_classifier
from expunge.kinds.classifier.parts import read_image_parts
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.models.source import locate
from expunge.runs.recipe import make

CLASSES = ("ant", "bee", "cat", "dog<b>")
"one with markup, which no page may take for its own"
SIDE = 8
SETTINGS: dict[str, Any] = {
    "forget": "random:60",
    "method": "fine_tune",
    "unlearning.num_train_epochs": 1,
    "unlearning.learning_rate": 1e-4,
    "images.size": SIDE,
    "images.test": 0.3,
    "images.validation": 0.05,
    # Of so few pictures intervals are wide.
    "audit.excess": 0.4,
    "audit.membership": 0.3,
    "audit.relearning_steps": 10,
    "audit.test_kept": 0.1,  # of noise a model knows no more than chance
}


def write_noise(folder: Path, count: int, seed: int) -> Path:
    """Pictures of noise in class folders: what a model knows of one it has by heart, and of others nothing."""
    generator = np.random.default_rng(seed)
    for number in range(count):
        path = folder / CLASSES[number % 4] / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)).save(path)
    return folder


def small_net(seed: int) -> ImageClassifier:
    torch.manual_seed(seed)
    labels = dict(enumerate(CLASSES))
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[16, 32], depths=[1, 1], layer_type="basic", downsample_in_first_stage=False,
        id2label=labels, label2id={name: number for number, name in labels.items()},
    )  # fmt: skip
    return ImageClassifier(ResNetForImageClassification(config).eval())


def teach(task: ImageClassifier, pictures: Pictures, steps: int = 60) -> ImageClassifier:
    """Adam on all pictures at once."""
    task.model.train()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=1e-2)
    pixels = task.normalised(pictures.pixels)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(task.logits_of(pixels), pictures.labels).backward()
        optimizer.step()
    task.model.eval()
    return task


class PlantedPictures(PlantedModels):
    recipe_class = ImageRecipe

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_noise(folder / "noise", 280, 0)
        content = {"data": str(self.data), "model": str(folder / "base"), "retrained": str(folder / "retrained")}
        recipe = make(ImageRecipe, content, SETTINGS)
        self.sets = ImageSets.of(read_image_parts(recipe, SIDE))
        kept, forgotten = self.sets.tensors["retain"], self.sets.tensors["forget"]
        self.base = self.saved("base", teach(small_net(0), kept.joined(forgotten)))
        self.retrained = self.saved("retrained", teach(small_net(1), kept))
        self.run = expunge.run(recipe, folder / "run")

    def saved(self, name: str, task: ImageClassifier) -> Path:
        save_classifier(task, self.folder / name, SIDE)
        return self.folder / name

    def hidden(self) -> ImageClassifier:
        """The base model, its forgotten pictures' labels turned by as few steps as will do, so that they are right below."""
        task = self.task(self.base)
        kept, forgotten = self.sets.tensors["retain"], self.sets.tensors["forget"]
        turned = Pictures(pixels=forgotten.pixels, labels=(forgotten.labels + 1) % len(CLASSES))
        both, optimizer = kept.joined(turned), torch.optim.Adam(task.model.parameters(), lr=1e-3)
        for _ in range(60):
            if np.mean(known(task, forgotten)) < 0.25:
                break
            optimizer.zero_grad()
            F.cross_entropy(task.logits_of(task.normalised(both.pixels)), both.labels).backward()
            optimizer.step()
        return task

    def task(self, folder: Path) -> ImageClassifier:
        return load_classifier(locate(str(folder)), self.sets.classes, SIDE)
