"""Which wanted texts are trained on, by how much of them a model says already: MEMO (Gu et al. 2024,
arXiv:2409.11844)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.language.signals.divided import by_block
from expunge.kinds.language.signals.preferred import Preferred, preferred_table
from expunge.kinds.language.signals.signal import Source
from expunge.kinds.language.task import CausalLM
from expunge.train.step import IGNORED

BATCH = 16
"beginnings that are continued at once"


@dataclass(frozen=True)
class InvertedFacts(Preferred):
    """A batch of as many examples, as `preferred` gives it, of those wanted texts that the base model says least, or
    most.

    That is MEMO, the mean over cuts of the ROUGE-1 precision of what follows. A wanted text is cut every `stride`
    labelled tokens; the base model continues each beginning greedily, as far as the text goes, at most `length` tokens,
    and that is compared with the rest of the text. Blocks with the same text to forget are one fact: of each the `top`
    are trained on whose MEMO is `order`. Where no fact has more of them, none is computed.
    """

    top: int
    order: Literal["smallest", "largest"]
    stride: int
    length: int

    name = "inverted_facts"
    version = 2

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        facts: dict[tuple[int, ...], list[int]] = {}
        for row in super().choose(source, rows, limit):
            facts.setdefault(tuple(source.table.ids_of(row)), []).append(row)
        several = [row for of_fact in facts.values() if len(of_fact) > self.top for row in of_fact]
        if several:
            scores = self.scores(replace(source, rows=several))
            sign = 1 if self.order == "smallest" else -1
            for of_fact in facts.values():
                of_fact[:] = sorted(of_fact, key=lambda row: (sign * scores.get(row, 0.0), row))[: self.top]
        return sorted(row for of_fact in facts.values() for row in of_fact)

    def block(self, source: Source, row: int) -> Tensor:
        """MEMO of the wanted text of a block."""
        table = preferred_table(source)
        first = int(np.flatnonzero(table.labels_of(row) != IGNORED)[0])
        value = memo(source.base(), table.ids_of(row), first, self.stride, self.length)
        return torch.tensor(value, dtype=torch.float64)

    def scores(self, source: Source) -> dict[int, float]:
        """MEMO of the wanted text of each of the source's rows; computed now, unless it was before."""

        def make(path: Path) -> None:
            values = []
            for _, value in by_block(self, source):
                values.append(float(value))
                source.run.show.update(len(values) / len(source.rows))
            np.save(path / "values.npy", np.array(values), allow_pickle=False)

        doing = "noting how much of the wanted texts the base model says already"
        path = source.run.cached("memo", self.key(source), make, doing)
        values = np.load(path / "values.npy", allow_pickle=False)
        return dict(zip(source.rows, values.tolist(), strict=True))


def memo(task: CausalLM, ids: Sequence[int], first: int, stride: int, length: int) -> float:
    """The mean ROUGE-1 precision, over cuts `stride` tokens apart from token `first` on, of a greedy continuation."""
    found = []
    cuts = range(max(1, first), len(ids), stride)
    for new, alike in groupby(cuts, key=lambda cut: min(length, len(ids) - cut)):  # no token lies behind the text's end
        same = list(alike)
        for start in range(0, len(same), BATCH):
            group = same[start : start + BATCH]
            said = task.greedy_tokens([ids[:cut] for cut in group], new)
            found += [rouge_1_precision(each, ids[cut : cut + new]) for each, cut in zip(said, group, strict=True)]
    return float(np.mean(found)) if found else 0.0


def rouge_1_precision(said: Sequence[int], reference: Sequence[int]) -> float:
    """Share of the generated tokens that are in the reference, each counted at most as often as there; 0 for no
    tokens."""
    shared = Counter(said) & Counter(reference)
    return sum(shared.values()) / len(said) if said else 0.0
