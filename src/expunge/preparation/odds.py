"""How much commoner each token is in the forget set than in the retain set."""

from __future__ import annotations

import heapq

import numpy as np

from expunge.data.tables import TokenTable
from expunge.tasks.base import IGNORED

PRIOR = 500.0
"a: tokens that the prior is worth, spread as both sets together have them (Monroe et al. 2008: a corpus that says nothing)"
CERTAIN = 2.5
"standard errors by which the log odds must differ from none"


def log_odds(counts: np.ndarray) -> np.ndarray:
    r"""(vocabulary,) float32 log odds ratios of tokens in what is to go over what is kept; 0 where it is not certain.

    With counts n of a token in each set, N in all, and a prior of a_y for token y and a in all (Monroe, Colaresi and Quinn
    2008, equations 16, 20 and 22):

    $$\delta_y = \log \frac{n^F_y + a_y}{N^F + a - n^F_y - a_y} - \log \frac{n^R_y + a_y}{N^R + a - n^R_y - a_y},
      \qquad z_y = \delta_y \Big/ \sqrt{\frac{1}{n^F_y + a_y} + \frac{1}{n^R_y + a_y}}$$

    Of several tables it is the largest: each is compared with its own clean side, so that what only tells one table from
    another is not taken for what is to go. A table with one side says nothing, unless all are so: then they are compared
    together.

    Args:
        counts: (tables, 2, vocabulary) of each token in each table's text to forget and to keep.
    """
    both_sides = counts.sum(2).min(1) > 0
    parts = counts[both_sides] if both_sides.any() else counts.sum(0, keepdims=True)
    return np.stack([_log_odds(*part.astype(np.float64)) for part in parts]).max(0).astype(np.float32)


def _log_odds(lost: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """(vocabulary,) of one table."""
    found = np.zeros(len(lost))
    both = lost + kept
    prior = PRIOR * both / max(1.0, both.sum())
    seen = both > 0
    n_f, n_r, a = lost[seen], kept[seen], prior[seen]
    total_f, total_r = lost.sum() + PRIOR, kept.sum() + PRIOR
    ratio = np.log((n_f + a) / (total_f - n_f - a)) - np.log((n_r + a) / (total_r - n_r - a))
    error = np.sqrt(1 / (n_f + a) + 1 / (n_r + a))
    found[seen] = np.where(ratio / error >= CERTAIN, ratio, 0.0)
    return found


def table_counts(forget: TokenTable, retain: TokenTable, vocabulary: int) -> np.ndarray:
    """(1, 2, vocabulary) how often each token is a label in two sets."""
    counts = [np.bincount(_labels(table), minlength=vocabulary) for table in (forget, retain)]
    return np.stack(counts)[None]


def _labels(table: TokenTable) -> np.ndarray:
    """The labels of every block, end to end."""
    blocks = [table.labels[start + 1 : end] for start, end in zip(table.starts, table.ends, strict=True)]
    labels = np.concatenate([np.zeros(0, np.int64), *blocks]).astype(np.int64)
    return labels[labels != IGNORED]


def covering(table: TokenTable, odds: np.ndarray, mark: float, wanted: int) -> list[int]:
    """`wanted` blocks in which the tokens with log odds of at least `mark` stand about equally often.

    Taken one after another: the block with the largest sum, over its unwanted tokens, of 1 / (1 + how many blocks that have
    been taken hold it), divided by the root of its length. Texts without unwanted tokens, of which there is nothing to
    learn, and yet more of the commonest words are left for last.
    """
    if wanted >= len(table):
        return list(range(len(table)))
    unwanted = odds >= mark
    tokens = []
    for start, end in zip(table.starts, table.ends, strict=True):
        labels = np.asarray(table.labels[start + 1 : end])
        found = np.unique(labels[labels != IGNORED])
        tokens.append(found[unwanted[found]].tolist())
    roots = np.sqrt(table.lengths)
    taken = np.zeros(len(odds))

    def worth(row: int) -> float:
        return float(sum(1 / (1 + taken[token]) for token in tokens[row]) / roots[row])

    # What a block is worth only falls as others are taken, so the first whose worth is what it was is the best.
    heap = [(-worth(row), row) for row in range(len(table))]
    heapq.heapify(heap)
    rows: list[int] = []
    while len(rows) < wanted:
        told, row = heapq.heappop(heap)
        if -told == (now := worth(row)):
            rows.append(row)
            taken[tokens[row]] += 1
        else:
            heapq.heappush(heap, (-now, row))
    return sorted(rows)
