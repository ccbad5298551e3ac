"""The base model's negative log-likelihood of each block of the forget set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from expunge.kinds.language.signals.divided import OF_BATCHES, by_batch
from expunge.kinds.language.signals.signal import Signal, Source, alike
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.step import Batch

if TYPE_CHECKING:
    from expunge.kinds.language.task import CausalLM


class ReferenceNLL(Signal):
    """(examples,) nats: each block's negative log-likelihood by the base model, summed over its labelled tokens."""

    name = "reference_nll"
    stage = "reference-nll"
    doing = "recording the base model's predictions on the forget set"

    def key(self, source: Source) -> dict[str, Any]:
        return source.key() | {"forget": source.table.folder.name, "rows": source.blocks(), "pairs": False}

    def make(self, source: Source, path: Path) -> None:
        values = block_nll(source.base(), self.table(source), source.run.show.update)
        np.save(path / "values.npy", values, allow_pickle=False)

    def table(self, source: Source) -> TokenTable:
        """The blocks whose likelihood it is."""
        return source.table


def block_nll(task: CausalLM, table: TokenTable, progress: Callable[[float], None] | None = None) -> np.ndarray:
    """(blocks,) float32: each block's negative log-likelihood in nats, summed over its labelled tokens."""
    found = np.zeros(len(table), np.float32)
    asked = np.flatnonzero(table.lengths > 1).tolist()
    left = len(asked)
    for rows, nll in by_batch(task, "nll", table, list(alike(table, asked))):
        found[rows] = nll
        left -= len(rows)
        if progress is not None:
            progress(1 - left / len(table))
    return found


def batch_nll(task: CausalLM, batch: Batch, _: Sequence[int]) -> np.ndarray:
    """The same of the blocks of one batch."""
    with torch.no_grad():
        found: np.ndarray = task.example_nll(batch).float().cpu().numpy()
    return found


OF_BATCHES["nll"] = batch_nll
