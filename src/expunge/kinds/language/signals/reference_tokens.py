"""What the base model says instead of each labelled token of the forget set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.language.signals.retain_labels import reference_labels
from expunge.kinds.language.signals.signal import Signal, Source, lookup
from expunge.kinds.language.token_dataset import Lookup, TokenTable
from expunge.train.step import SampledLabels


@dataclass(frozen=True, slots=True)
class TokensSaid:
    """What the base model said of a batch."""

    nll: Tensor
    "(rows,) nats: the negative log-likelihood of each label"
    said: SampledLabels
    "its distribution in each row; `Rows.cross_entropy` reads them"

    def to(self, device: torch.device) -> TokensSaid:
        return TokensSaid(self.nll.to(device), self.said.to(device))


class ReferenceTokens(Signal):
    """A `TokensSaid`: the base model's negative log-likelihood of each label, and its prediction there."""

    name = "reference_tokens"
    per = "row"
    doing = "computing the base model's predictions on the forget set"

    def key(self, source: Source) -> dict[str, Any]:
        of = {"forget": source.table.folder.name, "rows": source.blocks()}
        return source.key() | of | {"seed": source.run.recipe.seed}

    def make(self, source: Source, path: Path) -> None:
        rows = range(len(source.table))
        reference_labels(source.base(), source.table, rows, path, source.run.recipe.seed, source.run.show.update)

    def lookup(self, source: Source, path: Path) -> Lookup:
        read = said_and(path, "token_nll.npy")
        return lambda rows: TokensSaid(*read(rows))


def said_and(path: Path, beside: str) -> Callable[[Sequence[int]], tuple[Tensor, SampledLabels]]:
    """Reads from a folder that `reference_labels` wrote, for a batch's blocks: (rows,) of the file `beside`, and what
    the base said."""
    table = TokenTable(path)
    assert table.soft_ids is not None
    assert table.soft_weights is not None
    written = (np.load(path / beside, allow_pickle=False), table.soft_ids, table.soft_weights)
    values, candidates, weights = (lookup(each, "row", table) for each in written)

    def found(rows: Sequence[int]) -> tuple[Tensor, SampledLabels]:
        return values(rows), SampledLabels(weights(rows), candidates(rows).long())

    return found
