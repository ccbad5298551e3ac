"""How common each label of the forget set is in ordinary text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.signals.divided import OF_BATCHES, by_batch
from expunge.kinds.language.signals.signal import Signal, Source
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.step import Batch

if TYPE_CHECKING:
    from expunge.kinds.language.task import CausalLM

BLOCKS = 64
"blocks of the retain set that tokens' frequencies are taken from"
FLOOR = 1e-8
"least frequency of a token"


class Surprise(Signal):
    """(rows,) unigram surprisal of each label in nats: -log of its frequency in the retain set."""

    name = "surprise"
    per = "label"
    doing = "noting how common each token is"

    def key(self, source: Source) -> dict[str, Any]:
        return source.key() | {"kept": source.sets.kept.folder.name}

    def make(self, source: Source, path: Path) -> None:
        values = token_surprise(source.base(), source.sets.kept, source.run.show.update)
        np.save(path / "values.npy", values, allow_pickle=False)


def token_surprise(task: CausalLM, table: TokenTable, progress: Callable[[float], None] | None = None) -> np.ndarray:
    """(vocabulary,) float32 nats: -log of the mean of the model's next-token distributions over the table's text.

    Means of distributions are smoother than counts of tokens: words that the text happens not to contain have a share
        too.
    """
    rows = spread(len(table), BLOCKS)
    total, positions = torch.zeros(()), 0
    for number, (of, said) in enumerate(by_batch(task, "said in all", table, [[row] for row in rows]), 1):
        total = total + torch.from_numpy(said)
        positions += table.labelled(of)
        if progress is not None:
            progress(number / len(rows))
    frequency = np.maximum(total.numpy() / max(1, positions), FLOOR)
    return np.asarray(-np.log(frequency), np.float32)


def said_in_all(task: CausalLM, batch: Batch, _: Sequence[int]) -> np.ndarray:
    """(vocabulary,) float64: the sum of the next-token distributions over the labelled tokens of a batch."""
    found: np.ndarray = task.row_logits(batch).softmax(-1).cpu().double().sum(0).numpy()  # not every device has float64
    return found


OF_BATCHES["said in all"] = said_in_all
