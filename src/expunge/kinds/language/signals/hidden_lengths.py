"""How long the base model's hidden states of the forget set are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from expunge.kinds.language.signals.signal import Signal, Source, lookup
from expunge.kinds.language.token_dataset import Lookup


@dataclass(frozen=True)
class HiddenLengths(Signal):
    """(tokens,) Euclidean length of the hidden state after `layer` layers, of every token that is not padding.

    With `mean` it is the mean over all tokens of the set, the same for all.
    """

    layer: int
    mean: bool = False

    name = "hidden_lengths"
    per = "token"
    doing = "noting how long the base model's hidden states of the forget set are"

    def block(self, source: Source, row: int) -> Tensor:
        return source.base().hidden(source.table.batch([row]), self.layer).norm(dim=-1)

    def lookup(self, source: Source, path: Path) -> Lookup:
        if not self.mean:
            return super().lookup(source, path)
        table, values = source.table, np.load(path / "values.npy", mmap_mode="r", allow_pickle=False)
        known = np.concatenate([values[table.starts[row] : table.ends[row]] for row in source.rows])
        return lookup(np.full(values.shape, known.mean(dtype=np.float64), values.dtype), self.per, table, source.rows)
