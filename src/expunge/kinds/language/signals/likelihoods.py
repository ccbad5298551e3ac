"""What is known of the forget set before training, computed once with the base model, for methods that ask for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.perplexity import spread
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.context import Run
from expunge.runs.method import Method

BLOCKS = 64
"blocks of kept text that tokens' frequencies are taken from"
TOKENS = 512
"tokens that are looked at at once"
FLOOR = 1e-8
"least frequency of a token"

Progress = Callable[[float], None]


def know(run: Run[Any], forget: TokenTable, kept: TokenTable, method: Method, base: LazyModel) -> None:
    """Give the forget set what `method.needs`: `surprise` of every token, `reference_nll` of every block (and of every
    preferred one, where those are asked for)."""
    made_from = {"model": base.digest, "bf16": base.precision.bf16}

    def surprise(path: Path) -> None:
        np.save(path / "values.npy", token_surprise(base(), kept, run.show.update), allow_pickle=False)

    def reference(path: Path) -> None:
        np.save(path / "values.npy", block_nll(base(), forget, run.show.update), allow_pickle=False)
        if forget.preferred is not None:
            np.save(path / "preferred.npy", block_nll(base(), forget.preferred, run.show.update), allow_pickle=False)

    if method.asks_surprise:
        path = run.cached(
            "surprise", made_from | {"kept": kept.folder.name}, surprise, "noting how common each token is"
        )
        forget.surprise = np.load(path / "values.npy", allow_pickle=False)
    if method.needs.reference:
        of = {"forget": forget.folder.name, "rows": storage.digest_value(forget.starts.tolist())}
        path = run.cached(
            "reference-nll",
            made_from | of | {"pairs": forget.preferred is not None},
            reference,
            "noting what the base model says of the forget set",
        )
        forget.reference_nll = np.load(path / "values.npy", allow_pickle=False)
        if forget.preferred is not None:
            forget.preferred.reference_nll = np.load(path / "preferred.npy", allow_pickle=False)


def token_surprise(task: CausalLM, table: TokenTable, progress: Progress | None = None) -> np.ndarray:
    """(vocabulary,) float32 nats: -log of the mean of the model's next-token distributions over the table's text.

    Means of distributions are smoother than counts of tokens: words that the text happens not to hold have a share too.
    """
    rows = spread(len(table), BLOCKS)
    total, positions = torch.zeros(()), 0
    for number, row in enumerate(rows, 1):
        probabilities = task.row_logits(table.batch([row])).softmax(-1)
        total = total + probabilities.cpu().double().sum(0)  # not every device has float64
        positions += len(probabilities)
        if progress is not None:
            progress(number / len(rows))
    frequency = np.maximum(total.numpy() / max(1, positions), FLOOR)
    return np.asarray(-np.log(frequency), np.float32)


def block_nll(task: CausalLM, table: TokenTable, progress: Progress | None = None) -> np.ndarray:
    """(blocks,) float32: each block's negative log-likelihood in nats, summed over its labelled tokens.

    Blocks of like length are looked at together, at most `TOKENS` tokens at once.
    """
    found = np.zeros(len(table), np.float32)
    lengths = table.lengths
    order = [row for row in np.argsort(lengths, kind="stable").tolist() if lengths[row] > 1]
    while order:
        longest = int(lengths[order[-1]])
        rows = order[-max(1, TOKENS // longest) :]
        del order[-len(rows) :]
        with torch.no_grad():
            found[rows] = task.example_nll(table.batch(rows)).float().cpu().numpy()
        if progress is not None:
            progress(1 - len(order) / len(table))
    return found
