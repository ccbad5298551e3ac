"""Token tables: blocks of tokens with a label each, on disk and memory-mapped, so memory does not grow with the
text."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.train.step import IGNORED, Batch


def _map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """A file as a read-only array; an empty file, which cannot be mapped, as an empty array."""
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)


Lookup = Callable[[Sequence[int]], Any]
"a signal's values for the blocks of these numbers: tensors, or objects with a `to(device)`"


class TokenTable:
    """Blocks on disk. `ids` and `labels` are int32 of all blocks end to end; block i is `[starts[i], ends[i])`.

    `labels[j]` is the token that position j - 1 should predict, as in transformers; -100 keeps it out of the loss.
    Soft labels are `k` candidates with weights for each position. `signals` are looked up for each batch, by name.
    Where the data holds pairs, `preferred` is a table of as many blocks: the wanted text instead of each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = storage.read_json(folder / "table.json")
        borders = np.load(folder / "starts.npy", allow_pickle=False)
        self.starts, self.ends = borders[:-1], borders[1:]
        self.label_folder, self.label_starts = folder, self.starts
        total = int(borders[-1])
        self.signals: Mapping[str, Lookup] = {}
        self.preferred: TokenTable | None = None
        self.ids = _map(folder / "ids.bin", np.int32, (total,))
        self.labels = _map(folder / "labels.bin", np.int32, (total,))
        self.k = int(meta["k"])
        self.soft_ids = self.soft_weights = None
        if self.k:
            self.soft_ids = _map(folder / "soft_ids.bin", np.int32, (total, self.k))
            self.soft_weights = _map(folder / "soft_weights.bin", np.float32, (total, self.k))

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each block, (blocks,)."""
        lengths: np.ndarray = self.ends - self.starts
        return lengths

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())

    def take(self, rows: Sequence[int]) -> TokenTable:
        """A table of some of the blocks, in the given order, with their signals; nothing is copied on disk."""
        rows = list(rows)
        taken = copy.copy(self)
        taken.starts, taken.ends, taken.label_starts = self.starts[rows], self.ends[rows], self.label_starts[rows]
        taken.preferred = None if self.preferred is None else self.preferred.take(rows)

        def through(lookup: Lookup) -> Lookup:
            return lambda chosen: lookup([rows[row] for row in chosen])

        taken.signals = {name: through(lookup) for name, lookup in self.signals.items()}
        return taken

    def with_signal(self, name: str, lookup: Lookup) -> TokenTable:
        """The same blocks with one more signal."""
        found = copy.copy(self)
        found.signals = {**self.signals, name: lookup}
        return found

    def relabelled(self, by: TokenTable, rows: Sequence[int] | None = None) -> TokenTable:
        """The same blocks with the labels, hard and soft, of another table.

        Args:
            by: holds the blocks of the numbers `rows` of this table, in that order; default: all of them. A batch
                with any other is a `KeyError`.

        Raises:
            ValueError: its blocks are of other lengths.
        """
        found, rows = copy.copy(self), list(range(len(self)) if rows is None else rows)
        if not np.array_equal(self.lengths[rows], by.lengths):
            raise ValueError(f"the labels in {by.folder} belong to other blocks than those in {self.folder}")
        found.label_folder, found.label_starts = by.label_folder, np.full(len(self), -1)
        found.label_starts[rows] = by.label_starts
        found.labels, found.soft_ids, found.soft_weights = by.labels, by.soft_ids, by.soft_weights
        return found

    def as_written(self) -> TokenTable:
        """The same blocks with their original labels, and without signals."""
        found = TokenTable(self.folder)
        found.starts, found.ends, found.label_starts = self.starts, self.ends, self.starts
        return found

    def ids_of(self, row: int) -> list[int]:
        """The tokens of a block."""
        found: list[int] = self.ids[self.starts[row] : self.ends[row]].tolist()
        return found

    def labels_of(self, row: int) -> np.ndarray:
        """(tokens,) the labels of a block."""
        return self.labels[self._label_span(row)]

    def _label_span(self, row: int) -> slice:
        """Where the labels of a block are in their files."""
        start = int(self.label_starts[row])
        if start < 0:
            raise KeyError(row)
        return slice(start, start + int(self.ends[row] - self.starts[row]))

    def labelled(self, rows: Sequence[int]) -> int:
        """Number of labelled tokens in these blocks."""
        return int(sum((self.labels_of(row)[1:] != IGNORED).sum() for row in rows))

    def batch(
        self,
        rows: Sequence[int],
        normaliser: float | None = None,
        examples: float | None = None,
        tokens: float | None = None,
    ) -> Batch:
        """Blocks `rows`, padded on the right; lengths give the start of padding.

        Args:
            normaliser, examples, tokens: totals that sums are divided by; default: the batch's own.

        Raises:
            KeyError: a block without labels, or without a signal's values.
        """
        lengths = [int(self.ends[row] - self.starts[row]) for row in rows]
        spans = [self._label_span(row) for row in rows]
        own = [slice(self.starts[row], self.ends[row]) for row in rows]

        def padded(values: np.ndarray, spans: Sequence[slice], kind: type[np.generic], fill: int = 0) -> torch.Tensor:
            found = np.full((len(rows), max(lengths), *values.shape[1:]), fill, kind)
            for i, span in enumerate(spans):
                found[i, : lengths[i]] = values[span]
            return torch.from_numpy(found)

        labels = padded(self.labels, spans, np.int64, IGNORED)
        labels[:, 0] = IGNORED
        signals = {name: lookup(rows) for name, lookup in self.signals.items()}
        count = float(examples or len(rows))
        pairs = {name: replace(each, examples=count) for name, each in signals.items() if isinstance(each, Batch)}
        return Batch(
            ids=padded(self.ids, own, np.int64),
            labels=labels,
            soft_ids=None if self.soft_ids is None else padded(self.soft_ids, spans, np.int64),
            soft_weights=None if self.soft_weights is None else padded(self.soft_weights, spans, np.float32),
            lengths=torch.tensor(lengths),
            normaliser=float(normaliser or max(1, int((labels != IGNORED).sum()))),
            examples=count,
            tokens=float(tokens or sum(lengths)),
            rows=tuple(rows),
            signals=signals | pairs,
        )


class TableWriter:
    """Writes a token table block by block; `with TableWriter(folder) as table: table.append(...)`."""

    def __init__(self, folder: Path, k: int = 0) -> None:
        self.folder, self.k = folder, k
        self.starts = [0]
        folder.mkdir(parents=True, exist_ok=True)
        names = ["ids", "labels"] + (["soft_ids", "soft_weights"] if k else [])
        self.files = {name: open(folder / f"{name}.bin", "wb") for name in names}  # noqa: SIM115 - closed in __exit__

    def __enter__(self) -> TableWriter:
        return self

    def append(
        self,
        ids: Sequence[int] | np.ndarray,
        labels: Sequence[int] | np.ndarray,
        soft_ids: np.ndarray | None = None,
        soft_weights: np.ndarray | None = None,
    ) -> None:
        """Add a block; soft labels are (tokens, k)."""
        if len(ids) != len(labels):
            raise ValueError(f"{len(ids)} tokens but {len(labels)} labels")
        self.files["ids"].write(np.asarray(ids, np.int32).tobytes())
        self.files["labels"].write(np.asarray(labels, np.int32).tobytes())
        if self.k:
            assert soft_ids is not None
            assert soft_weights is not None
            self.files["soft_ids"].write(np.ascontiguousarray(soft_ids, np.int32).tobytes())
            self.files["soft_weights"].write(np.ascontiguousarray(soft_weights, np.float32).tobytes())
        self.starts.append(self.starts[-1] + len(ids))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self.files.values():
            file.close()
        if kind is None:
            np.save(self.folder / "starts.npy", np.asarray(self.starts, np.int64), allow_pickle=False)
            storage.write_json(self.folder / "table.json", {"k": self.k, "blocks": len(self.starts) - 1})
