"""Signals: what a method needs to know about a set before training, computed once with the original model.

A signal is a class in a file of its own, here or in another package. A method names it in `signals` (or `wants`), and
its loss reads it as `step.signal(name)`: for a batch, the values of the batch's examples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from expunge.core import storage
from expunge.kinds.language.signals.divided import by_block
from expunge.kinds.language.token_dataset import Lookup, TokenTable
from expunge.train.step import IGNORED

TOKENS = 512
"tokens of blocks that are looked at at once"

if TYPE_CHECKING:
    from expunge.kinds.language.inputs import Sets
    from expunge.kinds.language.lazy import LazyModel
    from expunge.kinds.language.recipe import Recipe
    from expunge.runs.context import Run
    from expunge.runs.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The inputs of a signal.

    Attributes:
        run: the recipe, and results that are computed once.
        base: the model as it was; calling it gives its task.
        sets: all sets of the run.
        method: the method that asks.
        table: the blocks of the signal's set, as they are labelled in training.
        rows: numbers of the blocks that training draws or watches, ascending; of others nothing need be known.
        notes: further notes on the unlearned model, by name.
    """

    run: Run[Recipe]
    base: LazyModel
    sets: Sets
    method: Method
    table: TokenTable
    rows: Sequence[int]
    notes: dict[str, Any] = field(default_factory=dict)

    def key(self) -> dict[str, Any]:
        """Everything that the base model's outputs on the set depend on."""
        key: dict[str, Any] = {"model": self.base.digest, "bf16": self.base.precision.bf16}
        labels = self.table.label_folder
        return key if labels == self.table.folder else key | {"labels": labels.name}

    def blocks(self) -> str:
        """A digest of the table's choice of blocks."""
        return storage.digest_value(self.table.starts.tolist())


class Signal:
    """Base of all signals. A subclass defines `block`, or `make` of all blocks at once, and `lookup` of more than
    values.

    Fields of a subclass that is a dataclass are its settings, and part of its key.
    """

    name: ClassVar[str]
    "by which methods read it"
    set: ClassVar[Literal["forget", "retain"]] = "forget"
    "the set it belongs to; if a method does not draw that set, nothing is computed"
    per: ClassVar[Literal["example", "row", "token", "label"]] = "example"
    "what has a value: each block, each labelled token, each token that is not padding, or each token of the vocabulary"
    is_batch: ClassVar[bool] = False
    "whether it is a batch itself, of other text, which a loss runs through the model in addition to the set's own"
    stage: ClassVar[str | None] = None
    "name of its results in the run folder; default: its own"
    doing: ClassVar[str | None] = None
    "shown while it is computed"
    reinforced: ClassVar[bool] = False
    "whether it needs a model trained further on the set"
    version: ClassVar[int] = 1
    "part of the key: raise it when the meaning of the values changes"

    def block(self, source: Source, row: int) -> Tensor:
        """The values of a block, without gradients: (...) per example, otherwise (labelled tokens, ...) or (tokens,
        ...).

        Of several processes each makes some of the blocks, with a source that knows these alone.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no block")

    def together(self, source: Source) -> None:
        """Do before all else what takes all processes, such as training a model: each of them calls this."""

    def key(self, source: Source) -> dict[str, Any]:
        """A JSON value of everything the values depend on."""
        return source.key() | {
            "made_by": f"{type(self).__module__}.{type(self).__qualname__} {self.version}",
            "settings": asdict(self) if is_dataclass(self) else {},
            "set": source.table.folder.name,
            "kept": source.sets.kept.folder.name,
            "blocks": source.blocks(),
            "rows": storage.digest_value(list(source.rows)),
            "seed": source.run.recipe.seed,
        }

    def make(self, source: Source, path: Path) -> None:
        """Fill the folder `path` with the files that `lookup` reads: `values.npy`, (blocks, ...) per example,
        (vocabulary, ...) per label, otherwise (tokens, ...) as long as `source.table.ids`, in which blocks lie as they
        do there."""
        table, found = source.table, None
        for number, (row, made) in enumerate(by_block(self, source), 1):
            value = made.astype(np.float32) if np.issubdtype(made.dtype, np.floating) else made
            if found is None:
                shape = (len(table), *value.shape) if self.per == "example" else (len(table.ids), *value.shape[1:])
                found = np.lib.format.open_memmap(path / "values.npy", "w+", value.dtype, shape)
            found[_places(table, row, self.per)] = value
            source.run.show.update(number / len(source.rows))
        assert found is not None, "a set without blocks is refused before"
        found.flush()

    def lookup(self, source: Source, path: Path) -> Lookup:
        """How a batch's values are read from the folder that `make` filled."""
        values = np.load(path / "values.npy", mmap_mode="r", allow_pickle=False)
        return lookup(values, self.per, source.table, source.rows)

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        """Which blocks of `rows` are trained on, of the signal's set: all, unless the signal is not there for all.

        Args:
            limit: no more than this many can be drawn: a signal may say which are best; None, any number.
        """
        return rows

    def made(self, source: Source) -> Lookup:
        """What is looked up for each batch; computed now, unless it was before."""
        stage = self.stage or self.name.replace("_", "-")
        path = source.run.cached(stage, self.key(source), lambda path: self.make(source, path), self.doing)
        return self.lookup(source, path)


class Labels(Signal):
    """Base class of labels other than the set's text. They come first: all other signals are of the labelled set."""

    def labelled(self, source: Source) -> TokenTable:
        """`source.table` with its labels."""
        raise NotImplementedError(f"{type(self).__name__} gives no labels")


def lookup(values: np.ndarray, per: str, table: TokenTable, rows: Collection[int] | None = None) -> Lookup:
    """Reads the values of a batch's blocks, end to end; of a block that is not among `rows` it is a `KeyError`."""
    known = frozenset(range(len(table)) if rows is None else rows)

    def found(chosen: Sequence[int]) -> Tensor:
        if missing := set(chosen) - known:
            raise KeyError(min(missing))
        read = values[np.concatenate([_places(table, row, per) for row in chosen])]
        return torch.from_numpy(np.array(read, np.float32 if np.issubdtype(read.dtype, np.floating) else None))

    return found


def alike(table: TokenTable, rows: Sequence[int]) -> Iterator[list[int]]:
    """Groups of blocks of similar length, the longest first: at most `TOKENS` tokens together, with padding."""
    order = sorted(rows, key=lambda row: int(table.lengths[row]))
    while order:
        group = order[-max(1, TOKENS // int(table.lengths[order[-1]])) :]
        del order[-len(group) :]
        yield group


def _places(table: TokenTable, row: int, per: str) -> np.ndarray:
    """Where the values of a block are."""
    if per == "example":
        return np.array([row])
    if per == "token":
        return np.arange(table.starts[row], table.ends[row])
    labels = table.labels_of(row)
    carrying = 1 + np.flatnonzero(labels[1:] != IGNORED)
    return labels[carrying] if per == "label" else table.starts[row] + carrying
