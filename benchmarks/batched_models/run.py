"""Seconds a model-step of training several small classifiers in one process: one after the other, or stacked.

A stacked step runs all models at once, each on a batch of its own: `torch.func.vmap` over weights of one more dimension, in
which a convolution becomes one with groups. Steps of both kinds take turns, on one thread. Also how far the weights of either
lie apart after a few steps in float64.

    python benchmarks/batched_models/run.py [--models 4] [--batch 64] [--rounds 10] [--result FILE]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from expunge.kinds.classifier.model import new_classifier
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.versions import versions

CLASSES, SIDE = tuple("abcdefghij"), 32


def optimizer_of(parameters: list[nn.Parameter] | list[Tensor]) -> torch.optim.Optimizer:
    """As the contest trains its models."""
    return torch.optim.Adam(parameters, lr=1e-3, weight_decay=5e-3, fused=True)


class Alone:
    """Models that are trained one after the other, as the product does it."""

    def __init__(self, tasks: list[ImageClassifier]) -> None:
        self.tasks = [task.twin(copy.deepcopy(task.model).train()) for task in tasks]
        self.optimizers = [optimizer_of(list(task.model.parameters())) for task in self.tasks]

    def step(self, batches: list[Pictures]) -> list[float]:
        """One step of every model on its batch; the losses."""
        losses = []
        for task, optimizer, pictures in zip(self.tasks, self.optimizers, batches, strict=True):
            batch = task.batch(pictures, torch.arange(len(pictures)))
            loss = F.cross_entropy(task.logits_of(batch.pixels), batch.labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def weights(self) -> list[dict[str, Tensor]]:
        return [dict(task.model.state_dict()) for task in self.tasks]


class Stacked:
    """The same models as one, with weights (models, ...)."""

    def __init__(self, tasks: list[ImageClassifier]) -> None:
        models = [copy.deepcopy(task.model).train() for task in tasks]
        self.task, self.count = tasks[0], len(tasks)
        self.parameters, self.buffers = stack_module_state(models)
        self.skeleton = copy.deepcopy(models[0]).to("meta")
        self.optimizer = optimizer_of(list(self.parameters.values()))

    def step(self, batches: list[Pictures]) -> list[float]:
        """One step of every model on its batch; the losses."""
        pixels = torch.stack([self.task.normalised(pictures.pixels) for pictures in batches])
        labels = torch.stack([pictures.labels for pictures in batches])

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(self.skeleton, (parameters, buffers), (x,)).logits, y)

        losses = vmap(loss)(self.parameters, self.buffers, pixels, labels)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()
        self.optimizer.step()
        return [float(each) for each in losses.detach()]

    def weights(self) -> list[dict[str, Tensor]]:
        everything = {**self.parameters, **self.buffers}
        return [{name: value[place].detach() for name, value in everything.items()} for place in range(self.count)]


def pictures(count: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    return Pictures(
        pixels=torch.randint(256, (count, 3, SIDE, SIDE), generator=generator, dtype=torch.uint8),
        labels=torch.randint(len(CLASSES), (count,), generator=generator),
    )


def new_tasks(count: int, dtype: torch.dtype) -> list[ImageClassifier]:
    return [ImageClassifier(new_classifier("resnet18-small", CLASSES, seed).model.to(dtype)) for seed in range(count)]


def largest_difference(models: int, batch: int, steps: int) -> float:
    """Over all weights and running figures in float64, after a few steps from the same start."""
    tasks = new_tasks(models, torch.float64)
    sides = Alone(tasks), Stacked(tasks)
    for step in range(steps):
        batches = [pictures(batch, models * step + place) for place in range(models)]
        for side in sides:
            side.step(batches)
    pairs = zip(sides[0].weights(), sides[1].weights(), strict=True)
    return max(float((one[name] - other[name]).abs().max()) for one, other in pairs for name in one)


def seconds(models: int, batch: int, rounds: int) -> dict[str, list[float]]:
    """Of a model-step, by kind: `alone`, `stacked 1` (one model, the same way) and `stacked N`."""
    tasks = new_tasks(models, torch.float32)
    sides: dict[str, Any] = {
        "alone": Alone(tasks),
        "stacked 1": Stacked(tasks[:1]),
        f"stacked {models}": Stacked(tasks),
    }
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            count = 1 if name == "stacked 1" else models
            batches = [pictures(batch, place) for place in range(count)]
            start = time.process_time()
            side.step(batches)
            if turn:  # the first turn warms up
                found[name].append((time.process_time() - start) / count)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--result", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    measured = seconds(options.models, options.batch, options.rounds)
    middle = {name: statistics.median(values) for name, values in measured.items()}
    result = {
        "milliseconds_a_model_step": {name: round(1000 * value, 1) for name, value in middle.items()},
        "range": {name: [round(1000 * min(v), 1), round(1000 * max(v), 1)] for name, v in measured.items()},
        "speed_up": round(middle["alone"] / middle[f"stacked {options.models}"], 2),
        "largest_difference_in_float64": largest_difference(options.models, 16, 3),
        "models": options.models,
        "batch": options.batch,
        "rounds": options.rounds,
        "versions": versions(),
    }
    print(json.dumps(result, indent=1))
    if options.result is not None:
        options.result.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
