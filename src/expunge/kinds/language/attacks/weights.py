"""Attacks that change the weights once, without training: the model is asked again after each change."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from transformers.pytorch_utils import Conv1D

from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.task import CausalLM
from expunge.ops.rounding import ROUNDINGS, Rounding, by_columns, survived
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

NOISE = (0.02, 0.05, 0.1)
"standard deviations of the noise, as shares of each matrix's own"
PRUNED = (0.1, 0.2, 0.3)
"shares of each matrix's weights that are set to 0, the smallest"
TOWARDS_BASE = (0.1, 0.2)
"shares of the way back to the base model"

Change = Callable[[str, Tensor], Tensor]


def matrices(task: CausalLM) -> dict[str, nn.Parameter]:
    """The weights of the linear layers within the text tower's layers, and matrices of experts, by name: what tools
    quantise. Embeddings, the head and convolutions stay as they are."""
    modules = dict(task.model.named_modules())

    def counts(name: str, parameter: nn.Parameter) -> bool:
        owner = modules[name.rpartition(".")[0]]
        if parameter.dim() == 3:
            return not isinstance(owner, _ConvNd) and min(parameter.shape[1:]) > 1
        return isinstance(owner, nn.Linear | Conv1D) and name.endswith(".weight")

    return {
        name: parameter
        for name, parameter in task.model.named_parameters()
        if task.layer_of(name) is not None and counts(name, parameter)
    }


def by_column(task: CausalLM) -> set[str]:
    """Names of those `matrices` that hold a column for each output, and not a row as `nn.Linear` does: GPT-2's, and those
    of some models' experts."""
    modules, found = dict(task.model.named_modules()), set()
    for name, parameter in matrices(task).items():
        owner = modules[name.rpartition(".")[0]]
        turned = isinstance(owner, Conv1D) or (parameter.dim() == 3 and _turned(owner))
        if turned:
            found.add(name)
    return found


def _turned(experts: nn.Module) -> bool:
    """Whether matrices of experts are (experts, inputs, outputs)."""
    if hasattr(experts, "is_transposed"):
        return bool(experts.is_transposed)
    up, down = getattr(experts, "gate_up_proj", None), getattr(experts, "down_proj", None)
    if not isinstance(up, Tensor) or not isinstance(down, Tensor):
        return False
    # Two matrices lie side by side in the first, and what one returns is what the other is given.
    return up.shape[2] == 2 * down.shape[1] and up.shape[1] == down.shape[2]


def held(weight: Tensor) -> Tensor:
    """A copy in the narrowest type that holds the same numbers: weights that were stored in 16 bits take half."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = weight.to(dtype)
        if torch.equal(narrow.to(weight.dtype), weight):
            return narrow if narrow.dtype != weight.dtype else weight.clone()
    return weight.clone()


class OfWeights(Attack):
    """An attack that changes matrices one by one."""

    settings: ClassVar[tuple[str, ...]]
    "what is done, in words: those of `changes`"

    @abstractmethod
    def changes(self, task: CausalLM, side: Side) -> Iterable[tuple[str, Change]]:
        """(what is done in words, what it makes of a matrix by its name): called with the matrices in the order of
        `matrices`."""

    def pieces(self, side: Side) -> list[Piece]:
        read = float(tokens(side.asked()))
        return [
            Piece(words=words, work=Work(read=read, changed=1, loaded=0 if place else 1))
            for place, words in enumerate(self.settings)
        ]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        found = matrices(task)
        before = {name: held(parameter.detach()) for name, parameter in found.items()}
        for number, (words, change) in enumerate(self.changes(task, side)):
            side.show(number / len(self.settings), f"{self.title.lower()}: {words}")
            for name, parameter in found.items():
                parameter.data.copy_(change(name, before[name].to(parameter.dtype)))
            yield side.trial(task, words)


def roundings(task: CausalLM) -> dict[str, Change]:
    """Every rounding in words, with what it makes of a matrix of this model."""
    turned = by_column(task)

    def change(rounding: Rounding, name: str, weight: Tensor) -> Tensor:
        return (by_columns(rounding) if name in turned else rounding)(weight)

    return {words: partial(change, rounding) for words, rounding in ROUNDINGS.items()}


class Quantization(OfWeights):
    """Weights rounded to 8 and 4 bits (Zhang et al. 2024, arXiv:2410.16454)."""

    name = "quantize"
    title = "Quantization"
    sentence = (
        "The weights of all linear layers are rounded to 8 and to 4 bits, as they are to save memory. A change that is "
        "smaller than a step of that rounding is undone by it."
    )
    order = 10
    version = 2
    settings = tuple(ROUNDINGS)

    def changes(self, task: CausalLM, side: Side) -> Iterable[tuple[str, Change]]:
        return list(roundings(task).items())

    def notes(self, side: Side) -> dict[str, object]:
        """How much of the change from the base model each rounding keeps, from 0 to 1: known before it is tried."""
        task = side.look()
        base, after = matrices(side.base()), matrices(task)
        kept: dict[str, object] = {}
        for words, rounding in roundings(task).items():
            left = whole = 0.0
            for name in after.keys() & base.keys():
                if base[name].shape == after[name].shape:
                    before, now = base[name].detach().float(), after[name].detach().float()
                    part, of = survived(before, now, partial(rounding, name))
                    left, whole = left + part, whole + of
            kept[words] = max(0.0, left / whole) if whole else None
        return {"share of the change that the rounding keeps": kept}

    def noting(self, side: Side) -> Work:
        return Work(changed=2 * len(ROUNDINGS), loaded=2)


class Noise(OfWeights):
    """Gaussian noise on the weights."""

    name = "noise"
    title = "Weight noise"
    sentence = "Random noise is added to the weights, in proportion to their spread."
    order = 60
    settings = tuple(f"noise of {share:.0%} of the weights' standard deviation" for share in NOISE)

    def changes(self, task: CausalLM, side: Side) -> Iterator[tuple[str, Change]]:
        for words, share in zip(self.settings, NOISE, strict=True):
            generator = torch.Generator().manual_seed(side.seed % (1 << 31))
            yield words, partial(_noisy, share, generator)


class Pruning(OfWeights):
    """The smallest weights set to 0 (Jia et al. 2023, arXiv:2304.04934, use it to unlearn; here it is an attack)."""

    name = "prune"
    title = "Pruning"
    sentence = "The smallest weights of each matrix are set to 0, as they are to make models faster."
    order = 61
    settings = tuple(f"{share:.0%} of the weights" for share in PRUNED)

    def changes(self, task: CausalLM, side: Side) -> Iterable[tuple[str, Change]]:
        return [(words, partial(_without_smallest, share)) for words, share in zip(self.settings, PRUNED, strict=True)]


class Interpolation(OfWeights):
    """Weights on the way back to the base model."""

    name = "interpolate"
    title = "Interpolation towards the base model"
    sentence = "The weights are moved a part of the way back to those of the base model, as merging models does."
    order = 62
    settings = tuple(f"{share:.0%} of the way" for share in TOWARDS_BASE)

    def missing(self, side: Side) -> str | None:
        if not side.retrained:  # what the base's weights bring is of the facts alone
            return "it needs a retrained model as the control: give --control MODEL"
        return side.unlike_base()

    def changes(self, task: CausalLM, side: Side) -> Iterator[tuple[str, Change]]:
        base = matrices(side.base())
        for words, share in zip(self.settings, TOWARDS_BASE, strict=True):
            yield words, partial(_towards, share, base)


def _noisy(share: float, generator: torch.Generator, _name: str, weight: Tensor) -> Tensor:
    return weight + share * weight.std() * torch.randn(weight.shape, generator=generator).to(weight)


def _towards(share: float, base: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    return torch.lerp(weight, base[name].detach().to(weight), share)


def _without_smallest(share: float, _name: str, weight: Tensor) -> Tensor:
    number = int(share * weight.numel())
    if number == 0:
        return weight
    threshold = weight.abs().flatten().kthvalue(number).values
    return torch.where(weight.abs() <= threshold, torch.zeros_like(weight), weight)
