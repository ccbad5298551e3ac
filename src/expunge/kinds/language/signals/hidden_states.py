"""The base model's hidden states of the retain set."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from expunge.kinds.language.signals.signal import Signal, Source


@dataclass(frozen=True)
class HiddenStates(Signal):
    """(tokens, width) hidden states after `layer` layers, of every token that is not padding."""

    layer: int

    name = "hidden_states"
    set = "retain"
    per = "token"
    stage = "hidden"
    doing = "recording the base model's hidden states on the retain set"

    def block(self, source: Source, row: int) -> Tensor:
        return source.base().hidden(source.table.batch([row]), self.layer)
