"""What the base model says about the retain set, computed once: the labels of a retain loss that keeps it as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from expunge.data.order import random_seed
from expunge.data.tables import TableWriter, TokenTable
from expunge.tasks.base import IGNORED
from expunge.tasks.causal_lm import CausalLM

TOP, TAIL = 24, 8
"likeliest tokens kept with their probability, and draws that stand for all others"


def reference_labels(
    task: CausalLM, table: TokenTable, folder: Path, seed: int, progress: Callable[[float], None] | None = None
) -> None:
    """Write `table` again with soft labels: the base model's own distribution over the next token.

    Cross-entropy with them is KL(base || model) up to a constant. Each position keeps its `TOP` likeliest tokens with
    their probabilities; the mass of all others is shared by `TAIL` draws from them, so that the loss is an unbiased
    estimate of the full one. (Cutting the tail off instead would sharpen the model, and raise its perplexity.)
    """
    with TableWriter(folder, k=TOP + TAIL) as writer:
        for row in range(len(table)):
            start, stop = int(table.starts[row]), int(table.starts[row + 1])
            ids, labels = np.array(table.ids[start:stop]), np.array(table.labels[start:stop])
            soft_ids = np.zeros((len(ids), TOP + TAIL), np.int64)
            soft_weights = np.zeros((len(ids), TOP + TAIL), np.float32)
            places = np.flatnonzero(labels[1:] != IGNORED) + 1
            if len(places):
                probabilities = task.row_logits(table.batch([row])).softmax(-1).cpu()
                generator = torch.Generator().manual_seed(random_seed(seed, "reference", row))
                top = probabilities.topk(TOP, dim=-1)
                rest = probabilities.scatter(1, top.indices, 0.0)
                mass = rest.sum(1, keepdim=True)
                drawn = torch.multinomial(rest + 1e-12, TAIL, replacement=True, generator=generator)
                soft_ids[places] = torch.cat([top.indices, drawn], 1).numpy()
                soft_weights[places] = torch.cat([top.values, (mass / TAIL).expand(-1, TAIL)], 1).numpy()
            writer.append(ids, labels, soft_ids, soft_weights)
            if progress is not None:
                progress((row + 1) / len(table))
