"""The base model's hidden states of either set after several layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from expunge.kinds.language.signals.signal import Signal, Source


@dataclass(frozen=True)
class RetainLayerStates(Signal):
    """(tokens, layers, width) hidden states after so many layers, each, of every token that is no padding."""

    layers: tuple[int, ...]

    name = "retain_layer_states"
    set: ClassVar[Literal["forget", "retain"]] = "retain"
    per = "token"
    doing = "noting the base model's hidden states of what is kept"

    def block(self, source: Source, row: int) -> Tensor:
        return source.base().hidden_at(source.table.batch([row]), self.layers)


@dataclass(frozen=True)
class ForgetLayerStates(RetainLayerStates):
    """The same of the forget set."""

    name = "forget_layer_states"
    set = "forget"
    doing = "noting the base model's hidden states of what is to be forgotten"
