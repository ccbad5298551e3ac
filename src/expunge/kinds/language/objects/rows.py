"""Rows that are given in Python as a set: texts, rows with fields, conversations, or token ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.data.text.conversations import as_turns
from expunge.data.text.document import Document, digest_documents
from expunge.data.text.notes import Notes
from expunge.data.text.row_forms import row_documents
from expunge.errors import DataError
from expunge.kinds.language.sets import TextSet
from expunge.train.step import IGNORED

WANTED = "rewrite"
"field of a row with the wanted text in its place"
IDS, LABELS, MASK = "input_ids", "labels", "attention_mask"
ALLOWED = (
    "a list of texts; rows with `text`, `prompt` and `completion`, `question` and `answer`, or `messages`; or lists "
    f"of token ids, or rows with `{IDS}` and maybe `{LABELS}`"
)


@dataclass(frozen=True, slots=True)
class GivenSet(TextSet):
    """A set whose documents are rows of a list, a `datasets.Dataset` or the like.

    Attributes:
        rows: gone through as often as they are needed.
        tokenizer: to make text of rows that are token ids; None if they are text.
    """

    rows: Iterable[Any] = ()
    tokenizer: Any = None

    def documents(self) -> Iterator[Document]:
        return _documents(self)

    def documents_of(self, number: int, row: Any, notes: Notes) -> Iterator[Document]:
        """The documents of a row of text."""
        where = f"{self.name}[{number}]"
        if isinstance(row, str):
            row = {"text": row}
        elif not isinstance(row, Mapping) and as_turns(row):
            row = {"messages": row}
        if not isinstance(row, Mapping):
            raise DataError(
                f"{where} is not text", seen=_shown(row), allowed=ALLOWED, next_step="mend or drop that row"
            )
        if any(not isinstance(name, str) for name in row):
            raise DataError(f"{where} has a field whose name is not text", seen=_shown(row), allowed=ALLOWED)
        return row_documents(row, where, notes)

    def ids_of(self, number: int, row: Any) -> tuple[list[int], list[int]]:
        """(token ids, labels) of a row of token ids; padding goes."""
        where = f"{self.name}[{number}]"
        fields = row if isinstance(row, Mapping) else {IDS: row}
        ids = _integers(fields.get(IDS), f"{where}: {IDS}")
        labels = [IGNORED, *ids[1:]] if fields.get(LABELS) is None else _integers(fields[LABELS], f"{where}: {LABELS}")
        mask = [1] * len(ids) if fields.get(MASK) is None else _integers(fields[MASK], f"{where}: {MASK}")
        if not len(ids) == len(labels) == len(mask):
            raise DataError(
                f"{where} does not fit together",
                seen=f"{len(ids)} {IDS}, {len(labels)} {LABELS}, {len(mask)} {MASK}",
                allowed="as many of each",
            )
        if any(each < 0 for each in ids):
            raise DataError(f"{where} holds a token number below 0", seen=min(ids))
        kept = [at for at, there in enumerate(mask) if there]
        return [ids[at] for at in kept], [labels[at] for at in kept]


def given_set(name: str, rows: Any, tokenizer: Any) -> GivenSet:
    """Take rows as a set, and see that all of them can be read.

    Raises:
        DataError: no rows, none with text, or a row that cannot be read: its number (from 0) is named.
    """
    if isinstance(rows, str | bytes | Mapping) or not isinstance(rows, Iterable):
        path = " (for a file, a data set id or a topic: expunge.forget)" if isinstance(rows, str) else ""
        raise DataError(
            f"{name} is not a list of rows", seen=_shown(rows), allowed=ALLOWED, next_step=f"give [{name}]{path}"
        )
    if iter(rows) is rows:  # a generator is gone through once
        rows = list(rows)
    first = next(iter(rows), None)
    found = GivenSet(name, f"the {name} set", "", False, rows=rows, tokenizer=tokenizer if _is_tokens(first) else None)
    notes = Notes()
    if found.tokenizer is not None:
        whole = hashlib.sha256()
        for number, row in enumerate(rows):
            ids, labels = found.ids_of(number, row)
            whole.update(np.asarray([len(ids), *ids, *labels], np.int64).tobytes())
        digest = whole.hexdigest()
    else:
        digest = digest_documents(_documents(found, notes))
    if first is None or digest == hashlib.sha256().hexdigest():
        raise DataError(
            f"{name} is empty",
            seen="; ".join(notes.lines()) or "no rows",
            allowed=ALLOWED,
            next_step="give at least one text",
        )
    return GivenSet(name, found.target, digest, False, notes=notes.lines(), rows=rows, tokenizer=found.tokenizer)


def column(given: GivenSet, name: str) -> list[str] | None:
    """The texts (or numbers, as text) of a further field of all rows; None if not every row has it."""
    found: list[str] = []
    for row in given.rows:
        value = row.get(name) if isinstance(row, Mapping) else None
        if not isinstance(value, str | int) or isinstance(value, bool):
            return None
        found.append(str(value))
    return found


def _documents(given: GivenSet, notes: Notes | None = None) -> Iterator[Document]:
    notes = Notes() if notes is None else notes
    for number, row in enumerate(given.rows):
        if given.tokenizer is None:
            yield from given.documents_of(number, row, notes)
        else:
            text = given.tokenizer.decode(given.ids_of(number, row)[0], skip_special_tokens=True)
            yield Document(text, None, f"{given.name}[{number}]")


def _is_tokens(row: Any) -> bool:
    if isinstance(row, Mapping):
        return IDS in row
    if hasattr(row, "tolist"):  # an array or a tensor
        return True
    return isinstance(row, Sequence) and not isinstance(row, str) and bool(row) and isinstance(row[0], int)


def _integers(value: Any, what: str) -> list[int]:
    found = value.tolist() if hasattr(value, "tolist") else value
    right = isinstance(found, Sequence) and not isinstance(found, str)
    if not right or not all(isinstance(each, int) and not isinstance(each, bool) for each in found):
        raise DataError(f"{what} are not token numbers", seen=_shown(value), allowed="a list of integers")
    return list(found)


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{type(value).__name__}: {text[:60]}{'...' if len(text) > 60 else ''}"
