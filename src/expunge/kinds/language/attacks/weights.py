"""Attacks that change the weights once, without training: the model is asked again after each change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.task import CausalLM
from expunge.ops.rounding import ROUNDINGS, survived
from expunge.runs.audit import Trial

NOISE = (0.02, 0.05, 0.1)
"standard deviations of the noise, as shares of each matrix's own"
PRUNED = (0.1, 0.2, 0.3)
"shares of each matrix's weights that are set to 0, the smallest"
TOWARDS_BASE = (0.1, 0.2)
"shares of the way back to the base model"

Change = Callable[[Tensor], Tensor]


def matrices(task: CausalLM) -> dict[str, nn.Parameter]:
    """The weights of the linear layers within the text tower's layers, and matrices of experts, by name: what tools
    quantise. Embeddings and the head stay as they are."""
    linear = {
        f"{name}.weight"
        for name, module in task.model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(task.decoder.prefix + ".")
    }
    return {
        name: parameter
        for name, parameter in task.model.named_parameters()
        if name in linear or (parameter.dim() == 3 and task.layer_of(name) is not None)
    }


class OfWeights(Attack):
    """An attack that changes matrices one by one."""

    steps: ClassVar[int]

    @abstractmethod
    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        """(what is done in words, what it makes of a matrix): called with the matrices in the order of `matrices`."""

    def cost(self, side: Side) -> float:
        return tokens(side.asked()) * self.steps

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        found = matrices(task)
        before = {name: parameter.detach().clone() for name, parameter in found.items()}
        for number, (words, change) in enumerate(self.changes(side)):
            side.show(number / self.steps, f"{self.title.lower()}: {words}")
            for name, parameter in found.items():
                parameter.data.copy_(change(before[name]))
            yield side.trial(task, words)


class Quantization(OfWeights):
    """Weights rounded to 8 and 4 bits (Zhang et al. 2024, arXiv:2410.16454)."""

    name = "quantize"
    title = "Quantization"
    sentence = (
        "The weights of all linear layers are rounded to 8 and to 4 bits, as they are to save memory. A change that is "
        "smaller than a step of that rounding is undone by it."
    )
    order = 10
    steps = len(ROUNDINGS)

    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        return list(ROUNDINGS.items())

    def notes(self, side: Side) -> dict[str, object]:
        """How much of the change from the base model each rounding keeps, from 0 to 1: known before it is tried."""
        base, after = matrices(side.base()), matrices(side.look())
        kept: dict[str, object] = {}
        for words, rounding in ROUNDINGS.items():
            left = whole = 0.0
            for name in after.keys() & base.keys():
                if base[name].shape == after[name].shape:
                    part, of = survived(base[name].detach().float(), after[name].detach().float(), rounding)
                    left, whole = left + part, whole + of
            kept[words] = max(0.0, left / whole) if whole else None
        return {"share of the change that the rounding keeps": kept}


class Noise(OfWeights):
    """Gaussian noise on the weights."""

    name = "noise"
    title = "Weight noise"
    sentence = "Random noise is added to the weights, in proportion to their spread."
    order = 60
    steps = len(NOISE)

    def changes(self, side: Side) -> Iterator[tuple[str, Change]]:
        for share in NOISE:
            generator = torch.Generator().manual_seed(side.seed % (1 << 31))
            yield f"noise of {share:.0%} of the weights' standard deviation", partial(_noisy, share, generator)


class Pruning(OfWeights):
    """The smallest weights set to 0 (Jia et al. 2023, arXiv:2304.04934, use it to unlearn; here it is an attack)."""

    name = "prune"
    title = "Pruning"
    sentence = "The smallest weights of each matrix are set to 0, as they are to make models faster."
    order = 61
    steps = len(PRUNED)

    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        return [(f"{share:.0%} of the weights", partial(_without_smallest, share)) for share in PRUNED]


class Interpolation(OfWeights):
    """Weights on the way back to the base model."""

    name = "interpolate"
    title = "Interpolation towards the base model"
    sentence = "The weights are moved a part of the way back to those of the base model, as merging models does."
    order = 62
    steps = len(TOWARDS_BASE)

    def missing(self, side: Side) -> str | None:
        if not side.retrained:  # what the base's weights bring is of the facts alone
            return "it needs a retrained model as the control: give --control MODEL"
        base, own = matrices(side.base()), matrices(side.look())
        same = base.keys() == own.keys() and all(base[name].shape == own[name].shape for name in own)
        return None if same else "the base model has other layers"

    def changes(self, side: Side) -> Iterator[tuple[str, Change]]:
        base = matrices(side.base())
        for share in TOWARDS_BASE:
            yield f"{share:.0%} of the way", partial(_towards, share, iter(list(base.values())))


def _noisy(share: float, generator: torch.Generator, weight: Tensor) -> Tensor:
    return weight + share * weight.std() * torch.randn(weight.shape, generator=generator).to(weight)


def _towards(share: float, base: Iterator[Tensor], weight: Tensor) -> Tensor:
    return torch.lerp(weight, next(base).detach().to(weight), share)


def _without_smallest(share: float, weight: Tensor) -> Tensor:
    number = int(share * weight.numel())
    if number == 0:
        return weight
    threshold = weight.abs().flatten().kthvalue(number).values
    return torch.where(weight.abs() <= threshold, torch.zeros_like(weight), weight)
