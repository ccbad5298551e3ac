"""Signals: what a method asks to be known of a set before training, computed once with the model as it was.

A signal is a class in a file of its own, here or in another package. A method names it in `signals` (or `wants`), and its
loss reads it as `step.signal(name)`: for a batch, what is known of the batch's examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from expunge.core import storage
from expunge.kinds.language.token_dataset import Lookup, TokenTable
from expunge.train.step import IGNORED

if TYPE_CHECKING:
    from expunge.kinds.language.inputs import Sets
    from expunge.kinds.language.lazy import LazyModel
    from expunge.kinds.language.recipe import Recipe
    from expunge.runs.context import Run
    from expunge.runs.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a signal is made of.

    Attributes:
        run: the recipe, and results that are computed once.
        base: the model as it was; calling it gives its task.
        sets: all sets of the run.
        method: the method that asks.
        table: the blocks of the signal's set, as they are labelled in training.
        rows: numbers of the blocks that training draws or watches, ascending; of others nothing need be known.
        notes: what is noted of the unlearned model besides, by name.
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
        """A digest of which blocks the table holds."""
        return storage.digest_value(self.table.starts.tolist())


class Signal:
    """Base of all signals. A subclass defines `values`; one that keeps more than an array, `make` and `lookup`.

    Fields of a subclass that is a dataclass are its settings, and part of its key.
    """

    name: ClassVar[str]
    "by which methods read it"
    stage: ClassVar[str | None] = None
    "name of its results in the run folder; default: its own"
    set: ClassVar[Literal["forget", "retain"]] = "forget"
    "of which set it is; where a method does not draw that set, nothing is made"
    per: ClassVar[Literal["example", "row", "token"]] = "example"
    "what there is a value of: each block, each labelled token, or each token that is no padding"
    doing: ClassVar[str | None] = None
    "shown while it is computed"
    version: ClassVar[int] = 1
    "part of the key: raise it when what the values mean changes"

    def values(self, source: Source) -> np.ndarray:
        """The values, in the order of `source.table`.

        Returns:
            (blocks, ...) where they are per example; otherwise (tokens, ...) as long as the table's file, so that those of
            block i are at `[table.starts[i], table.ends[i])`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no values")

    def key(self, source: Source) -> dict[str, Any]:
        """A JSON value of everything the values depend on."""
        return source.key() | {
            "made_by": f"{type(self).__module__}.{type(self).__qualname__} {self.version}",
            "settings": asdict(self) if is_dataclass(self) and not isinstance(self, type) else {},
            "set": source.table.folder.name,
            "kept": source.sets.kept.folder.name,
            "blocks": source.blocks(),
            "rows": storage.digest_value(list(source.rows)),
            "seed": source.run.recipe.seed,
        }

    def make(self, source: Source, path: Path) -> None:
        """Fill the folder `path` with what `lookup` reads."""
        np.save(path / "values.npy", self.values(source), allow_pickle=False)

    def lookup(self, source: Source, path: Path) -> Lookup:
        """How the values of a batch's blocks are read from the folder that `make` filled."""
        values = np.load(path / "values.npy", mmap_mode="r", allow_pickle=False)
        return {"example": per_example, "row": per_row, "token": per_token}[self.per](values, source.table)

    def choose(self, source: Source, rows: list[int], limit: int | None) -> list[int]:
        """Which blocks of `rows` are trained on, of the forget set: all, unless the signal is not there for all.

        Args:
            limit: no more than so many can be drawn: a signal may say which are best; None, any number.

        Raises:
            RecipeError: there are none.
        """
        return rows

    def made(self, source: Source) -> Lookup:
        """What is looked up for each batch; computed now, unless it was before."""
        stage = self.stage or self.name.replace("_", "-")
        path = source.run.cached(stage, self.key(source), lambda path: self.make(source, path), self.doing)
        return self.lookup(source, path)


class Labels(Signal):
    """Base of what gives a set other labels than its text. They come first: all other signals are of the labelled set."""

    def labelled(self, source: Source) -> TokenTable:
        """`source.table` with its labels."""
        raise NotImplementedError(f"{type(self).__name__} gives no labels")


def per_example(values: np.ndarray, table: TokenTable) -> Lookup:
    """Looks up (examples, ...) in (blocks, ...)."""
    return lambda rows: _tensor(values[list(rows)])


def per_row(values: np.ndarray, table: TokenTable) -> Lookup:
    """Looks up (labelled tokens, ...) in (tokens of the table's file, ...)."""

    def found(rows: Sequence[int]) -> Tensor:
        return _tensor(
            np.concatenate([values[table.starts[row] + 1 : table.ends[row]][labelled(table, row)] for row in rows])
        )

    return found


def per_token(values: np.ndarray, table: TokenTable) -> Lookup:
    """Looks up (tokens of the blocks, ...) in (tokens of the table's file, ...)."""
    return lambda rows: _tensor(np.concatenate([values[table.starts[row] : table.ends[row]] for row in rows]))


def labelled(table: TokenTable, row: int) -> np.ndarray:
    """(tokens - 1,) bool: which tokens of a block, from the second on, carry a label."""
    places: np.ndarray = table.labels_of(row)[1:] != IGNORED
    return places


def only(rows: Sequence[int], lookup: Lookup) -> Lookup:
    """A lookup that raises `KeyError` for blocks that are not among `rows`."""
    known = frozenset(rows)

    def found(chosen: Sequence[int]) -> Any:
        if missing := set(chosen) - known:
            raise KeyError(min(missing))
        return lookup(chosen)

    return found


def _tensor(values: np.ndarray) -> Tensor:
    """Real numbers as float32, all others as they are."""
    kind = np.float32 if np.issubdtype(values.dtype, np.floating) else values.dtype
    return torch.from_numpy(np.array(values, kind))
