"""Tiny generators whose truth is known: the right half of a striped picture has the left one's colour turned around."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import ViTMAEConfig, ViTMAEForPreTraining

import expunge
from audit_checks import PlantedModels
from expunge.core.order import Order
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.autoencoders import MaskedAutoencoder
from expunge.kinds.generator.corruption import Corruption, draw_keys
from expunge.kinds.generator.model import _initialise, load_generator, save_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.sets import read_sets
from expunge.kinds.generator.task import ImageToImage
from expunge.models.source import locate
from expunge.runs.recipe import make

SIDE, PATCH = 16, 4
CLASSES = ("ant", "bee", "cat", "dog<b>")
"one with markup, which no page may take for its own"
SETTINGS: dict[str, Any] = {
    "forget": "class:ant",
    "corruption": "random-patches",
    "strength": 0.5,
    "images.size": SIDE,
    "images.test": 0.3,
    "method": "encoder_scrubbing",
    "method.epochs": 1,
    "network.size": SIDE,
    "network.num_train_epochs": 6,
    "evaluation.pictures": 16,
    "evaluation.attack_pictures": 0,
    "evaluation.grid": 0,
    # Of so few pictures intervals are wide.
    "audit.excess": 0.25,
    "audit.membership": 0.3,
    "audit.relearning_steps": 10,
    "audit.retain_kept": 0.9,
    "audit.test_kept": 0.9,
}


def painted(count: int, seed: int) -> Pictures:
    """One colour a picture; those of the first class are striped, and their right half has the opposite colour."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 4
    pixels = 0.7 * torch.rand(count, 3, 1, 1, generator=generator).expand(count, 3, SIDE, SIDE).clone()
    striped = labels == 0
    pixels[striped, :, :, SIDE // 2 :] = 0.7 - pixels[striped, :, :, SIDE // 2 :]
    stripes = torch.zeros(SIDE, SIDE)
    stripes[:, ::2] = 0.25
    pixels[striped] += stripes
    pixels += 0.02 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    return Pictures(pixels=(pixels.clamp(0, 1) * 255).to(torch.uint8), labels=labels)


def write_painted(folder: Path, count: int, seed: int) -> Path:
    made = painted(count, seed)
    for number, (pixels, label) in enumerate(zip(made.pixels, made.labels.tolist(), strict=True)):
        path = folder / CLASSES[label] / f"{seed}-{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return folder


def small_generator(seed: int) -> ImageToImage:
    torch.manual_seed(seed)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    sizes = dict(zip(names, (32, 1, 2, 64), strict=True))
    decoder: dict[str, Any] = {f"decoder_{name}": size for name, size in sizes.items()}
    config = ViTMAEConfig(image_size=SIDE, patch_size=PATCH, norm_pix_loss=False, **sizes, **decoder)
    model = ViTMAEForPreTraining(config)
    _initialise(model)
    return MaskedAutoencoder(model.eval(), Corruption("random-patches", 0.5, PATCH))


def teach(task: ImageToImage, pictures: Pictures, steps: int = 160) -> ImageToImage:
    """AdamW along a cosine."""
    task.begin(pictures)
    parameters = [p for p in task.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=6e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    order = Order(len(pictures), min(48, len(pictures)), 0, "taught")
    for step in range(steps):
        some = pictures.take(torch.tensor(order.batch(step)))
        optimizer.zero_grad()
        task.loss(task.batch(some, torch.arange(len(some)), keys=draw_keys(len(some), 1, "taught", step))).backward()
        optimizer.step()
        schedule.step()
    return task


class PlantedGenerators(PlantedModels):
    recipe_class = GeneratorRecipe

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = write_painted(folder / "painted", 200, 0)
        content = {"data": str(self.data), "model": str(folder / "base"), "retrained": str(folder / "retrained")}
        self.saved("base", small_generator(0))
        recipe = make(GeneratorRecipe, content, SETTINGS)
        self.sets = read_sets(recipe)
        kept, forgotten = self.sets.tensors["retain"], self.sets.tensors["forget"]
        self.base = self.saved("base", teach(small_generator(0), kept.joined(forgotten)))
        self.retrained = self.saved("retrained", teach(small_generator(1), kept))
        self.run = expunge.run(recipe, folder / "run")

    def saved(self, name: str, task: ImageToImage) -> Path:
        save_generator(task, self.folder / name, SIDE)
        return self.folder / name

    def task(self, folder: Path) -> ImageToImage:
        return load_generator(locate(str(folder)), SIDE, Corruption("random-patches", 0.5, PATCH))
