"""Perplexity of text, with an interval over blocks."""

from __future__ import annotations

import math

from expunge.core.score import Score, Which
from expunge.kinds.language.measures.declared import DECLARED
from expunge.kinds.language.scoring import token_scores
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.measures.statistics import bootstrap_interval

BATCH = 4
MOST_NATS = 700.0
"largest mean whose exponential is finite: unbounded ascent can go far beyond it"


def perplexity(task: CausalLM, table: TokenTable, split: str, which: Which, max_blocks: int) -> Score:
    """exp of the mean negative log-likelihood over the labelled tokens of at most `max_blocks` blocks, spread evenly.

    The interval resamples blocks, weighted by their tokens. `examples` are each block's mean in nats a token.
    """
    rows = spread(len(table), max_blocks)
    by_length = sorted(rows, key=lambda row: int(table.lengths[row]))
    batches = [table.batch(by_length[start : start + BATCH]) for start in range(0, len(by_length), BATCH)]
    scored: dict[int, tuple[float, int]] = {}
    for row, (log_probs, _) in zip(by_length, token_scores(task, batches), strict=True):
        scored[row] = (-float(log_probs.double().sum()), len(log_probs))
    labelled = [scored[row] for row in rows if scored[row][1]]
    means, weights = [total / count for total, count in labelled], [float(count) for _, count in labelled]
    value, low, high = (math.exp(min(max(nats, 0.0), MOST_NATS)) for nats in bootstrap_interval(means, weights))
    return DECLARED["perplexity"].score(split, which, (value, low, high), means)


def spread(n: int, wanted: int) -> list[int]:
    """At most `wanted` indices of `n`, evenly spread."""
    if n <= wanted:
        return list(range(n))
    return [int(i * n / wanted) for i in range(wanted)]
