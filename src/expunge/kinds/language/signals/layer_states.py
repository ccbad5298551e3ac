"""The base model's hidden states of either set after several layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.kinds.language.signals.signal import Signal, Source


@dataclass(frozen=True)
class RetainLayerStates(Signal):
    """(tokens, layers, width) hidden states after this many layers, each, of every token that is not padding."""

    layers: tuple[int, ...]

    name = "retain_layer_states"
    set: ClassVar[Literal["forget", "retain"]] = "retain"
    per = "token"
    doing = "recording the base model's hidden states on the retain set"

    def block(self, source: Source, row: int) -> Tensor:
        return source.base().hidden_at(source.table.batch([row]), self.layers)


@dataclass(frozen=True)
class ForgetLayerStates(RetainLayerStates):
    """The same for the forget set, shifted for losses that are flat where a model is unchanged."""

    aside: float = 0.0
    "length of a vector that is added to each, drawn by the run's seed, as a share of its own length"

    name = "forget_layer_states"
    set = "forget"
    doing = "recording the base model's hidden states on the forget set"

    def block(self, source: Source, row: int) -> Tensor:
        states = super().block(source, row)
        if self.aside == 0:
            return states
        generator = torch.Generator().manual_seed(random_seed(source.run.recipe.seed, "states aside", row))
        way = torch.randn(states.shape, generator=generator).to(states)
        return states + self.aside * way * (states.norm(dim=-1, keepdim=True) / way.norm(dim=-1, keepdim=True))
