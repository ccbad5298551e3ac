"""Likelihoods of many texts: batch by batch, by all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.language.task import CausalLM
from expunge.train.step import IGNORED, Batch

TOGETHER = 8
"prompts in a forward pass"
Prompts = list[list[int]]


def token_scores(
    task: CausalLM, batches: Sequence[Batch], on_progress: Callable[[float], None] = lambda share: None
) -> list[tuple[Tensor, Tensor]]:
    """`CausalLM.token_scores` of each block of each batch, in order.

    Args:
        on_progress: called after each batch of this process with the share done.
    """

    def own(numbers: Sequence[int]) -> list[Any]:
        return scored(task, [batches[number] for number in numbers], on_progress)

    made = task.shared("scores", lambda: [[to_arrays(batch) for batch in batches]], len(batches), own)
    return [
        (torch.tensor(log_p, dtype=torch.float32), torch.tensor(greedy, dtype=torch.bool))
        for batch in made
        for log_p, greedy in batch
    ]


def scored(
    task: CausalLM, batches: Sequence[Batch], on_progress: Callable[[float], None] = lambda share: None
) -> list[Any]:
    """The same as JSON, for each batch separately."""
    found = []
    for done, batch in enumerate(batches, 1):
        found.append([(log_p.tolist(), greedy.tolist()) for log_p, greedy in task.token_scores(batch)])
        on_progress(done / len(batches))
    return found


def to_arrays(batch: Batch) -> list[np.ndarray]:
    """The tokens and labels of a batch, to send to other processes."""
    return [each.cpu().numpy().astype(np.int32) for each in (batch.ids, batch.labels, batch.lengths)]


def from_arrays(content: Sequence[np.ndarray]) -> Batch:
    """A batch made of the parts that another process sent."""
    ids, labels, lengths = (torch.from_numpy(each).long() for each in content)
    return Batch(ids=ids, labels=labels, lengths=lengths, normaliser=1.0)


def next_token_mass(task: CausalLM, prompts: Sequence[Sequence[int]], tokens: Sequence[Sequence[int]]) -> list[float]:
    """For each prompt, the probability that one of its tokens comes next."""
    starts = range(0, len(prompts), TOGETHER)
    batches = [[[list(each) for each in of[at : at + TOGETHER]] for of in (prompts, tokens)] for at in starts]

    def own(numbers: Sequence[int]) -> list[Any]:
        return [masses(task, *batches[number]) for number in numbers]

    return [mass for batch in task.shared("masses", lambda: [batches], len(batches), own) for mass in batch]


def masses(task: CausalLM, prompts: Prompts, tokens: Prompts) -> list[float]:
    """The same for one batch."""
    probabilities = next_token_probabilities(task, prompts)
    return [min(1.0, float(row[ids].sum())) if ids else 0.0 for row, ids in zip(probabilities, tokens, strict=True)]


def next_token_probabilities(task: CausalLM, prompts: Sequence[Sequence[int]]) -> Tensor:
    """(prompts, vocabulary) float32: the next-token distribution."""
    width = max(map(len, prompts)) + 1
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    labels = torch.full((len(prompts), width), IGNORED)
    for i, tokens in enumerate(prompts):
        ids[i, : len(tokens)] = torch.tensor(list(tokens))
        labels[i, len(tokens)] = 0
    lengths = torch.tensor([len(tokens) for tokens in prompts])
    batch = Batch(ids=ids, labels=labels, lengths=lengths, normaliser=1.0)
    return task.row_logits(batch).softmax(-1).cpu()
