from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import Pictures
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import head, leaves
from expunge.ops.masks import smallest
from expunge.train.callback import Hooks


class Kookmin(ImageMethod):
    r"""Kookmin University's second prize of the NeurIPS 2023 challenge, masked small gradients (notebook; arXiv:2410.01276).

    $$\text{erase:}\quad g = \sum_{B \subset R'} \nabla \mathrm{CE}_B - \sum_{B \subset F} \nabla \mathrm{CE}_B, \qquad
      \theta_i \leftarrow \mathcal{N}\left(0, \tfrac{2}{\text{fan-out}}\right) \;\text{for the share } s
      \text{ of smallest } |g_i| \text{ of each layer}$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right], \qquad
      \nabla_i \leftarrow 0.1 \, \nabla_i \;\text{for weights that were kept}$$

    R' is a part of the retain set as large as the forget set. Layers are the convolutions; in a model with only one of
    them (a transformer's patch embedding), the linear layers before the head as well.
    """

    renewed_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    "s: share of each layer's weights that are reinitialised; 0.3 in the notebook"
    kept_gradient: NonNegativeFloat = 0.1
    "factor of the gradients of kept weights; 0.1 in the notebook"
    epochs: PositiveInt = 5
    "epochs of repair; 5 in the notebook"
    learning_rate: PositiveFloat = 1e-3
    "highest, of SGD with momentum 0.9; rises and falls linearly by epoch; 0.001 in the notebook"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the notebook"

    def apply(self, work: Work) -> None:
        weights = renewable(work.model)
        scales = self.renew(work, weights)

        def slow() -> None:
            for weight, scale in zip(weights, scales, strict=True):
                if weight.grad is not None:
                    weight.grad.mul_(scale)

        repair = self.phase("repair")
        for phase in repair.by_epoch(rise_and_fall(self.learning_rate, self.epochs)):
            work.train(phase, work.retain, work.cross_entropy, callbacks=[Hooks(on_backward=slow)])

    def renew(self, work: Work, weights: list[nn.Parameter]) -> list[Tensor]:
        """Reinitialise the weights of smallest gradient; return the factor of each weight's gradient."""
        some = torch.randperm(len(work.retain), generator=work.generator("part"))[: len(work.forget)]
        retain = self.gradient(work, work.retain.take(some), weights, "retain gradient")
        forget = self.gradient(work, work.forget, weights, "forget gradient")
        generator = work.generator("renew")
        scales = []
        with torch.no_grad():
            for weight, plus, minus in zip(weights, retain, forget, strict=True):
                chosen = smallest(plus - minus, self.renewed_share)
                fan_out = weight.shape[0] * weight.shape[2:].numel()
                fresh = torch.randn(weight.shape, generator=generator, dtype=weight.dtype).to(weight.device)
                weight.copy_(torch.where(chosen, fresh * math.sqrt(2 / fan_out), weight))
                scales.append(torch.full_like(weight, self.kept_gradient).masked_fill_(chosen, 1.0))
        return scales

    def gradient(self, work: Work, pictures: Pictures, weights: list[nn.Parameter], name: str) -> list[Tensor]:
        """Sum over batches of the gradients of mean cross-entropy."""
        places = [next(at for at, p in enumerate(work.trainable()) if p is weight) for weight in weights]
        total = [torch.zeros_like(weight) for weight in weights]
        for found in work.gradients(pictures, work.cross_entropy, batch_size=self.batch_size, name=name):
            for sum_, place in zip(total, places, strict=True):
                sum_ += found[place]
        return total


def renewable(model: nn.Module) -> list[nn.Parameter]:
    """Trainable weights of the convolutions, and of the linear layers before the head if there is only one
    convolution."""
    found = leaves(model, nn.Conv2d)
    if len(found) < 2:
        found += [(name, module) for name, module in leaves(model, nn.Linear) if module is not head(model)]
    weights = [module.weight for _, module in found]
    return [weight for weight in weights if isinstance(weight, nn.Parameter) and weight.requires_grad]


def rise_and_fall(rate: float, epochs: int) -> list[float]:
    """Learning rate of each epoch: rises to `rate` in the first half, then falls, reaching 0 after the last epoch."""
    half = (epochs + 1) // 2
    return [
        rate * (epoch / half if epoch <= half else (epochs + 1 - epoch) / (epochs + 1 - half))
        for epoch in range(1, epochs + 1)
    ]
