"""What the base model says in the place of each labelled token of the forget set."""

from __future__ import annotations

from collections.abc import Sequence
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
    """What the base model said of a batch.

    Attributes:
        nll: (rows,) nats: the negative log-likelihood of each label.
        said: its distribution in each row, as sampled labels; `Rows.cross_entropy` reads them.
    """

    nll: Tensor
    said: SampledLabels

    def to(self, device: torch.device) -> TokensSaid:
        return TokensSaid(self.nll.to(device), self.said.to(device))


class ReferenceTokens(Signal):
    """A `TokensSaid`: the base model's negative log-likelihood of each label, and what it says there."""

    name = "reference_tokens"
    per = "row"
    doing = "noting what the base model says of the forget set"

    def key(self, source: Source) -> dict[str, Any]:
        of = {"forget": source.table.folder.name, "rows": source.blocks()}
        return source.key() | of | {"seed": source.run.recipe.seed}

    def make(self, source: Source, path: Path) -> None:
        rows = range(len(source.table))
        reference_labels(source.base(), source.table, rows, path, source.run.recipe.seed, source.run.show.update)

    def lookup(self, source: Source, path: Path) -> Lookup:
        return tokens_said(TokenTable(path))


def tokens_said(table: TokenTable) -> Lookup:
    """Looks up what `reference_labels` wrote of every block."""
    assert table.soft_ids is not None
    assert table.soft_weights is not None
    nll = lookup(np.load(table.folder / "token_nll.npy", allow_pickle=False), "row", table)
    candidates, weights = (lookup(each, "row", table) for each in (table.soft_ids, table.soft_weights))

    def found(rows: Sequence[int]) -> TokensSaid:
        return TokensSaid(nll(rows), SampledLabels(weights(rows), candidates(rows).long()))

    return found
