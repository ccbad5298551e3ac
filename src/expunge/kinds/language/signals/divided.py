"""Signals that all processes compute together: each block's value is computed by one of them, and the first gathers
it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from expunge.core import processes
from expunge.kinds.language.scoring import from_arrays, to_arrays
from expunge.kinds.language.token_dataset import TokenTable
from expunge.train.step import Batch

if TYPE_CHECKING:
    from expunge.kinds.language.lazy import LazyModel
    from expunge.kinds.language.signals.signal import Signal, Source
    from expunge.kinds.language.task import CausalLM

G = TypeVar("G")
M = TypeVar("M")
AT_ONCE = 8
"blocks, or groups of them, of each process whose values are gathered at once"
OF_BATCHES: dict[str, Callable[..., Any]] = {}
"functions of a batch, by the name of the job: given (task, batch, numbers of its blocks, further arguments)"
_OFFERED: dict[tuple[str, str], tuple[Signal, Source]] = {}
"signals that all processes know here and now, by set and name"


@contextmanager
def offered(source: Source, signals: Sequence[Signal]) -> Iterator[None]:
    """Inside, all processes can compute blocks of these signals for the first one."""
    if processes.world() > 1:
        _OFFERED.update({(each.set, each.name): (each, source) for each in signals})
    try:
        yield
    finally:
        _OFFERED.clear()


def _in_rounds(pieces: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Pieces of a job, as many at a time as are gathered at once."""
    size = AT_ONCE * (processes.count() if processes.has_helpers() else 1)
    for start in range(0, len(pieces), size):
        yield pieces[start : start + size]


def by_batch(
    task: CausalLM, job: str, table: TokenTable, groups: Sequence[list[int]], *more: Any
) -> Iterator[tuple[list[int], Any]]:
    """(numbers of a table's blocks, the result for them as a batch) for each group, in order; computed by all
    processes.

    Args:
        job: a name in `OF_BATCHES`.
        more: further arguments, as JSON.
    """
    for round_ in _in_rounds(groups):
        batches = [table.batch(rows) for rows in round_]
        yield from zip(round_, _of_batches(task, job, batches, round_, more), strict=True)


def _of_batches(
    task: CausalLM, job: str, batches: Sequence[Batch], groups: Sequence[list[int]], more: Sequence[Any]
) -> list[Any]:
    def own(numbers: Sequence[int]) -> list[Any]:
        return [OF_BATCHES[job](task, batches[number], groups[number], *more) for number in numbers]

    def about() -> list[Any]:
        return [job, [to_arrays(batch) for batch in batches], groups, more]

    return task.shared("batches", about, len(batches), own)


def own_batches(task: CausalLM, about: Sequence[Any], own: Sequence[int]) -> list[Any]:
    """This process's part of the work of `by_batch`."""
    job, batches, groups, more = about
    return [OF_BATCHES[job](task, from_arrays(batches[number]), groups[number], *more) for number in own]


def by_group(groups: Iterable[list[G]], make: Callable[[list[G]], M]) -> Iterator[tuple[list[G], M]]:
    """(group, what is made of it) for each, in order, on all processes: each makes some of them, and hears of all.

    It is for models in memory that all of them have, where they are together (`Signal.together`).

    Args:
        make: given a group, makes JSON, in which arrays may stand. All call it as often: with an empty group
            where only others have one left.
    """
    left = iter(groups)
    while here := list(itertools.islice(left, processes.world())):
        place = processes.rank()
        yield from zip(here, processes.gathered(make(here[place] if place < len(here) else [])), strict=False)


def by_block(signal: Signal, source: Source) -> Iterator[tuple[int, np.ndarray]]:
    """(number, result of `signal.block`) of each of the source's blocks, in order."""
    task = source.base() if processes.has_helpers() and (signal.set, signal.name) in _OFFERED else None
    for rows in _in_rounds(source.rows):
        yield from zip(rows, _of_blocks(task, signal, source, rows), strict=True)


def _of_blocks(task: CausalLM | None, signal: Signal, source: Source, rows: Sequence[int]) -> list[Any]:
    def own(numbers: Sequence[int]) -> list[Any]:
        return [_values(signal, source, rows[number]) for number in numbers]

    def about() -> list[Any]:
        return [signal.set, signal.name, described(source.table, rows), list(rows)]

    return own(range(len(rows))) if task is None else task.shared("blocks", about, len(rows), own)


def own_blocks(base: LazyModel, about: Sequence[Any], own: Sequence[int]) -> list[Any]:
    """This process's part of the work of `by_block`."""
    belongs_to, name, table, rows = about
    signal, source = _OFFERED[belongs_to, name]
    source = replace(source, base=base, table=table_of(table), rows=rows)
    return [_values(signal, source, rows[number]) for number in own]


def _values(signal: Signal, source: Source, row: int) -> np.ndarray:
    with torch.no_grad():
        made = signal.block(source, row).cpu()
    values: np.ndarray = (made.float() if made.dtype == torch.bfloat16 else made).numpy()
    return values


def described(table: TokenTable, rows: Sequence[int]) -> dict[str, Any]:
    """Location of some blocks of a table on disk, with their labels, from which `table_of` makes a table of these
    alone."""
    places = {name: np.asarray(getattr(table, name)[list(rows)]) for name in ("starts", "ends", "label_starts")}
    return places | {
        "folder": str(table.folder.resolve()),
        "labels": str(table.label_folder.resolve()),
        "blocks": len(table),
        "rows": list(rows),
        "preferred": None if table.preferred is None else described(table.preferred, rows),
    }


def table_of(said: dict[str, Any]) -> TokenTable:
    """The table that another process `described`."""
    table = TokenTable(Path(said["folder"]))
    labels = table if said["labels"] == said["folder"] else TokenTable(Path(said["labels"]))
    table.label_folder = labels.folder
    table.labels, table.soft_ids, table.soft_weights = labels.labels, labels.soft_ids, labels.soft_weights
    for name, missing in (("starts", 0), ("ends", 0), ("label_starts", -1)):
        places = np.full(said["blocks"], missing)
        places[said["rows"]] = said[name]
        setattr(table, name, places)
    table.preferred = None if said["preferred"] is None else table_of(said["preferred"])
    return table
