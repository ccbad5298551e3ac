"""What transcriptions of image methods share: work in float64, its pictures as the model sees them, plain training loops."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from small_images import small_work, tiny_resnet


def double_work(make: Callable[[], ImageClassifier] = tiny_resnet, seed: int = 0, **sizes: int) -> Work:
    """Small work with a model in float64, its figures of normalisation moved off their start."""
    model = make().model.double()
    work = small_work(ImageClassifier(model), seed=seed, **sizes)
    model.train()
    with torch.no_grad():
        for _ in range(5):
            work.task.logits_of(inputs(work, work.retain))
    model.eval()
    return small_work(ImageClassifier(model), seed=seed, **sizes)


def inputs(work: Work, pictures: Pictures) -> Tensor:
    return (pictures.pixels.double() - 127.5) / 127.5


def twin(work: Work) -> nn.Module:
    """A copy of the model that may be trained."""
    return copy.deepcopy(work.model)


def logits(model: nn.Module, pixels: Tensor) -> Tensor:
    found: Tensor = model(pixels).logits
    return found


def numbers(model: nn.Module) -> np.ndarray:
    """Every trainable weight, one after the other."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).numpy()


def frozen_state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def gradient(model: nn.Module, loss: Tensor) -> np.ndarray:
    found = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    return torch.cat([each.flatten() for each in found]).numpy()


def log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
