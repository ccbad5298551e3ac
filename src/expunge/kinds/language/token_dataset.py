"""Token tables: blocks of tokens with a label each, on disk and memory-mapped, so memory does not grow with the text."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.train.step import IGNORED, Batch


def _map(path: Path, kind: type[np.generic], shape: tuple[int, ...]) -> np.ndarray:
    """A file as a read-only array; an empty file, which cannot be mapped, as an empty array."""
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)


@dataclass(frozen=True, slots=True)
class KeptOriginal:
    """What the original model's distributions over some blocks of a table are made of.

    Attributes:
        states: (tokens, width) inputs of its output layer, as long as the whole table.
        head: its output layer.
        starts: where the blocks begin whose states are there.
    """

    states: np.ndarray
    head: FrozenHead
    starts: frozenset[int]

    def of(self, spans: Sequence[tuple[int, int]]) -> Original:
        """Of the blocks at these places, end to end.

        Raises:
            KeyError: a block whose states were not asked for.
        """
        for start, _ in spans:
            if start not in self.starts:
                raise KeyError(start)
        states = np.concatenate([self.states[start:end] for start, end in spans])
        return Original(torch.from_numpy(states), self.head)


class TokenTable:
    """Blocks on disk. `ids` and `labels` are int32 of all blocks end to end; block i is `[starts[i], ends[i])`.

    `labels[j]` is the token that position j - 1 should predict, as in transformers; -100 keeps it out of the loss.
    Soft labels are `k` candidates with weights for each position, and `token_nll` (tokens,) is there with them.
    `reference_nll` (blocks,), `surprise` (vocabulary,), `unwanted` (tokens,), `hidden` (tokens, width), `original` (what
    the original model's distributions are made of) and `preferred` (a table of as many blocks, each what is wanted in
    the place of this one's) are set where they are computed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = storage.read_json(folder / "table.json")
        borders = np.load(folder / "starts.npy", allow_pickle=False)
        self.starts, self.ends = borders[:-1], borders[1:]
        total = int(borders[-1])
        self.reference_nll: np.ndarray | None = None
        self.surprise: np.ndarray | None = None
        self.unwanted: np.ndarray | None = None
        known = folder / "token_nll.npy"
        self.token_nll: np.ndarray | None = np.load(known, allow_pickle=False) if known.is_file() else None
        self.hidden: np.ndarray | None = None
        self.original: KeptOriginal | None = None
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
        """Some of the blocks, in the given order, as a table; nothing is copied on disk."""
        taken = copy.copy(self)
        taken.starts, taken.ends = self.starts[list(rows)], self.ends[list(rows)]
        if self.reference_nll is not None:
            taken.reference_nll = self.reference_nll[list(rows)]
        if self.preferred is not None:
            taken.preferred = self.preferred.take(rows)
        return taken

    def labelled(self, rows: Sequence[int]) -> int:
        """How many tokens of these blocks carry a label."""
        return int(sum((self._block(self.labels, row)[1:] != IGNORED).sum() for row in rows))

    def _block(self, array: np.ndarray, row: int) -> np.ndarray:
        return array[self.starts[row] : self.ends[row]]

    def batch(
        self,
        rows: Sequence[int],
        normaliser: float | None = None,
        examples: float | None = None,
        tokens: float | None = None,
    ) -> Batch:
        """Blocks `rows`, padded on the right; lengths say where padding starts.

        Args:
            normaliser, examples, tokens: totals that sums are divided by; the batch's own where absent.
        """
        spans = [(int(self.starts[row]), int(self.ends[row])) for row in rows]
        lengths = [end - start for start, end in spans]

        def padded(values: np.ndarray | None, kind: type[np.generic], fill: int = 0) -> np.ndarray | None:
            if values is None:
                return None
            found = np.full((len(rows), max(lengths), *values.shape[1:]), fill, kind)
            for i, (start, end) in enumerate(spans):
                found[i, : end - start] = values[start:end]
            return found

        labels = padded(self.labels, np.int64, IGNORED)
        assert labels is not None
        labels[:, 0] = IGNORED
        found = {
            "ids": padded(self.ids, np.int64),
            "labels": labels,
            "soft_ids": padded(self.soft_ids, np.int64),
            "soft_weights": padded(self.soft_weights, np.float32),
            "unwanted": padded(self.unwanted, np.float32),
            "token_nll": padded(self.token_nll, np.float32),
            "reference_nll": None if self.reference_nll is None else self.reference_nll[list(rows)].astype(np.float32),
            "surprise": None if self.surprise is None else self.surprise[np.maximum(labels, 0)].astype(np.float32),
            "hidden": None
            if self.hidden is None
            else np.concatenate([self.hidden[start:end] for start, end in spans]).astype(np.float32),
        }
        tensors: dict[str, Any] = {n: None if value is None else torch.from_numpy(value) for n, value in found.items()}
        return Batch(
            **tensors,
            lengths=torch.tensor(lengths),
            normaliser=float(normaliser or max(1, (labels != IGNORED).sum())),
            examples=float(examples or len(rows)),
            tokens=float(tokens or sum(lengths)),
            original=None if self.original is None else self.original.of(spans),
            preferred=None if self.preferred is None else self.preferred.batch(rows, examples=examples),
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
