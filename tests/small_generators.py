"""Small generators and runs of them for tests."""

from __future__ import annotations

from typing import Any

import torch

from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import new_generator
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import ImageToImage
from small_images import pictures

SMALL_GENERATOR: dict[str, Any] = {
    "model": "mae-tiny",
    "forget": "class:ant",
    "images.size": 16,
    "images.test": 0.25,
    "fitting.num_train_epochs": 2,
    "fitting.per_device_train_batch_size": 16,
    "network.size": 16,
    "network.num_train_epochs": 1,
    "method.epochs": 2,
    "method.batch_size": 16,
    "evaluation.grid": 2,
    "evaluation.attack_steps": 5,
}
"settings of a run on 64 pictures that does everything, a little of it"


def tiny_generator(corruption: str = "random-patches", seed: int = 0) -> ImageToImage:
    return new_generator("mae-tiny", 16, Corruption(corruption), seed)


def generator_work(
    task: ImageToImage, *, retain: int = 48, forget: int = 24, seed: int = 0, **more: Any
) -> GeneratorWork:
    everything = pictures(retain + forget, 4)
    rows = torch.arange(len(everything))
    return GeneratorWork(
        task=task, retain=everything.take(rows[:retain]), forget=everything.take(rows[retain:]), seed=seed, **more
    )
