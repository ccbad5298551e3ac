"""What transcriptions of generator methods share: work in float64, and what a method hands to the training loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.registry import make_method, method_class
from small_generators import generator_work, tiny_generator


def double_work(seed: int = 0, **sizes: int) -> GeneratorWork:
    """Small work with a model in float64."""
    task = tiny_generator()
    return generator_work(task.twin(task.model.double()), seed=seed, **sizes)


class Handed:
    """What a method hands to `GeneratorWork.train`, in place of training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []

        def train(work: GeneratorWork, phase: Any, dataset: Any, loss: Any, **more: Any) -> None:
            sets = {"pictures": dataset.dataset, "known": dataset.known}
            if (paired := more.pop("paired_with", None)) is not None:
                sets |= {"paired": paired.dataset, "known_paired": paired.known}
            self.calls.append({"phase": phase, "loss": loss, **sets, **more})

        monkeypatch.setattr(GeneratorWork, "train", train)

    def by(self, name: str, work: GeneratorWork, **fields: Any) -> list[dict[str, Any]]:
        once = {"views": 1} if "views" in method_class(name).model_fields else {}
        make_method({"name": name, **once, **fields}).apply(work)
        return self.calls


def moved(task: ImageToImage, seed: int = 5) -> None:
    """Weights a little off where they were, so that no loss is at its start."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in task.model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)


def inputs(pictures: Pictures, rows: Tensor) -> Tensor:
    """Normalised pixels, written out."""
    return (pictures.pixels[rows].double() - 127.5) / 127.5


def batch_noise(work: GeneratorWork, kind: str, name: str) -> Tensor:
    """(n, 3, side, side) noise for the forget set (one batch of it), with pixels from 0 to 1, written out."""
    unit = work.forget.pixels.float() / 255
    generator = work.generator("noise", name, 0)
    if kind == "constant":
        drawn = torch.zeros(unit.shape)
    elif kind == "uniform":
        return torch.rand(unit.shape, generator=generator).double()
    elif kind == "matched_uniform":
        drawn = np.sqrt(12) * (torch.rand(unit.shape, generator=generator) - 0.5)
    elif kind == "binary":
        white = torch.rand((len(unit), 1, *unit.shape[2:]), generator=generator) < unit.mean()
        return torch.where(white, 1.0, 0.0).double().repeat(1, 3, 1, 1)
    else:
        drawn = torch.randn(unit.shape, generator=generator)
    mean, std = unit.double().mean(), unit.double().std()
    return (mean + std * drawn.double()).clamp(0, 1)


def order(keys: Tensor, patches: int = 16) -> Tensor:
    """Noise under which transformers itself hides what random patches of these keys hide: the largest come first."""
    draws = [torch.rand(patches, generator=torch.Generator().manual_seed(int(key))) for key in keys]
    return -torch.stack(draws)


def own_features(model: Any, pixels: Tensor, keys: Tensor) -> np.ndarray:
    """(n, 1 + shown, width) features as transformers makes them, the shown patches brought into the grid's order."""
    noise = order(keys)
    found = model.vit(pixel_values=pixels, noise=noise).last_hidden_state
    shown = noise.argsort(1)[:, : found.shape[1] - 1]
    places = shown.argsort(1)
    patches = torch.gather(found[:, 1:], 1, places[:, :, None].expand(-1, -1, found.shape[2]))
    return torch.cat([found[:, :1], patches], 1).detach().numpy()


def own_outputs(model: Any, pixels: Tensor, keys: Tensor) -> np.ndarray:
    """(n, patches, numbers of a patch) what the decoder says of every patch, as transformers makes it."""
    return model(pixel_values=pixels, noise=order(keys)).logits.detach().numpy()


def own_loss(model: Any, pixels: Tensor, keys: Tensor, wanted: Tensor | None = None) -> float:
    """Mean squared error of the hidden patches, from transformers' own patches and mask."""
    out = model(pixel_values=pixels, noise=order(keys))
    if wanted is None:
        return float(out.loss.detach())
    error = ((out.logits - model.patchify(wanted)) ** 2).mean(-1)
    return float(((error * out.mask).sum() / out.mask.sum()).detach())


def slope(task: ImageToImage, loss: Any, parameters: list[Any], seed: int = 9) -> tuple[float, float]:
    """(derivative along a random direction by backward, by central differences)."""
    generator = torch.Generator().manual_seed(seed)
    ways = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in parameters]
    exact = sum(float((g * w).sum()) for g, w in zip(torch.autograd.grad(loss(), parameters), ways, strict=True))
    step, values = 1e-5, []
    for sign in (1, -1):
        with torch.no_grad():
            for p, w in zip(parameters, ways, strict=True):
                p += sign * step * w
        values.append(float(loss().detach()))
        with torch.no_grad():
            for p, w in zip(parameters, ways, strict=True):
                p -= sign * step * w
    return exact, (values[0] - values[1]) / (2 * step)
