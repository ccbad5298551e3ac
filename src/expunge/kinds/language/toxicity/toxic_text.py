"""Toxic text to forget and clean text to retain, from a folder of tables or datasets of the hub."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np

from expunge.core.order import random_seed
from expunge.data.images.hub import fetch
from expunge.data.images.table import read_json_rows
from expunge.data.text.delimited import Table, read_delimited
from expunge.data.text.rows import MAX_ROW, parquet_rows
from expunge.data.text.text_files import open_file
from expunge.errors import DataError
from expunge.kinds.language.toxicity.toxic_rows import KINDS, NO_GROUP, PROMPT, Row, Statement, kind_of, statements

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
TooFew = Literal["merge", "drop", "refuse"]
"what to do with groups that are too small"


@dataclass(slots=True)
class Source:
    """Where statements were read: the user's source, its tables of statements, and other files with the reason."""

    source: str
    folder: Path | None
    "folder of the files; None for a dataset of the hub"
    read: list[Path] = field(default_factory=list)
    unread: list[tuple[Path, str]] = field(default_factory=list)


@dataclass(slots=True)
class ToxicText:
    """The statements read, to forget and to retain, in the order of the files.

    Attributes:
        toxic, clean: the statements; a rewrite of a toxic one is with it, and not among `clean`.
        notes: notes for readers of the scores: files skipped, groups merged.
        sources: the files that were read, and those that were not.
    """

    toxic: list[Statement] = field(default_factory=list)
    clean: list[Statement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)

    def digest(self) -> str:
        """sha256 (hex) of every statement, its label, group and rewrite, in order."""
        whole = hashlib.sha256()
        for each in (*self.toxic, *self.clean):
            for part in (each.text, str(each.toxic), each.group, each.rewrite or ""):
                whole.update(hashlib.sha256(part.encode("utf-8", "surrogatepass")).digest())
        return whole.hexdigest()


def read_toxic_text(sources: Sequence[str]) -> ToxicText:
    """Read toxic and clean text.

    Args:
        sources: folders, files or Hugging Face datasets (`owner/name`, `owner/name:configuration`). Tables are
            recognised by their columns (`toxic_rows.KINDS`); prompts and other tables are skipped, with a note.

    Raises:
        DataError: with file, line and next step: no toxic or no clean text, a missing column, an invalid
            label, no text.
    """
    found = ToxicText()
    passed: list[str] = []
    read: Counter[str] = Counter()
    for source in sources:
        place = Path(source).expanduser()
        files = Source(source, (place if place.is_dir() else place.parent) if place.exists() else None)
        found.sources.append(files)
        if place.is_dir():
            files.unread += _no_tables(place)
        for name, columns, rows in _tables(source, found.notes):
            kind = kind_of(columns, name)
            if kind is None:
                why = "prompts" if PROMPT in columns else "another kind of table"
                passed.append(f"{Path(name).name} ({why})")
                files.unread.append((Path(name), why))
                continue
            files.read.append(Path(name))
            for each in statements(rows, kind):
                (found.toxic if each.toxic else found.clean).append(each)
                read[Path(name).name] += 1
    if read:
        found.notes.append("statements read: " + ", ".join(f"{name} {count:,}" for name, count in read.items()))
    if passed:
        found.notes.append(f"not trained on: {', '.join(passed)}")
        logging.getLogger(__name__).info(found.notes[-1])
    if not found.toxic or not (found.clean or any(each.rewrite for each in found.toxic)):
        raise DataError(
            f"{', '.join(sources)} has no {'clean' if found.toxic else 'toxic'} text",
            seen="; ".join(passed) or "no tables",
            allowed="; or ".join(f"{', '.join(kind.columns)}: {kind.name}" for kind in KINDS),
            next_step="give a folder with such a table (.csv, .tsv, .jsonl or .parquet): --data FOLDER",
        )
    return found


def _tables(source: str, notes: list[str]) -> Iterator[tuple[str, list[str], Iterator[tuple[str, Row]]]]:
    """(name, columns, rows with their places) of every table of a source."""
    path = Path(source).expanduser()
    if not path.exists():
        path = fetch(source, [f"*{ending}" for ending in TABLES])
    files = [path]
    if path.is_dir():
        tables = (file for file in sorted(path.rglob("*")) if file.is_file() and file.suffix.lower() in TABLES)
        files = [file for file in tables if not _hidden(file, path)]
        if not files:
            raise DataError(
                f"{source} has no tables",
                seen=", ".join(sorted(file.name for file in path.iterdir())[:8]) or "an empty folder",
                allowed=", ".join(TABLES),
                next_step="give the folder with the tables of toxic text: --data FOLDER",
            )
    for file in files:
        if file.suffix.lower() == ".parquet":
            columns, rows = parquet_rows(file)
        else:
            table = read_delimited(file) if file.suffix.lower() in (".csv", ".tsv") else read_json_rows(file)
            columns, rows = list(table.cells), _rows(table)
            notes += table.notes
        yield str(file), columns, rows


def _no_tables(folder: Path) -> list[tuple[Path, str]]:
    """Files of a folder that are not tables, sorted, with the reason why they are not read."""
    others = f"no table ({', '.join(TABLES)})"
    why = {file: "hidden" if _hidden(file, folder) else others for file in sorted(folder.rglob("*")) if file.is_file()}
    return [(file, said) for file, said in why.items() if said == "hidden" or file.suffix.lower() not in TABLES]


def _hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _rows(table: Table) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, cells in enumerate(zip(*table.cells.values(), strict=True)):
        yield table.where(number), dict(zip(table.cells, cells, strict=True))


def prompt_files(folder: Path) -> tuple[Path | None, Path | None]:
    """(a file of prompts, a file of prompts that name a group of people), the first of each in a folder of JSON lines.

    The first line of a file decides.
    """
    found: dict[bool, Path] = {}
    for file in sorted(folder.rglob("*.jsonl")):
        if _hidden(file, folder):
            continue
        with open_file(file) as lines:
            first = lines.readline(MAX_ROW)
        try:
            row = json.loads(first)
        except ValueError:
            continue  # a table that will be read raises its own error
        if isinstance(row, dict) and PROMPT in row:
            found.setdefault("group" in row, file)
    return found.get(False), found.get(True)


def settle_groups(found: ToxicText, least: int, too_few: TooFew) -> ToxicText:
    """Toxic text whose every group has at least `least` statements.

    Args:
        too_few: what to do with smaller groups: merged into `NO_GROUP`, dropped, or refused.

    Raises:
        DataError: groups that are too small, if they are refused or if none is left.
    """
    sizes = Counter(each.group for each in found.toxic)
    small = {group: count for group, count in sorted(sizes.items()) if count < least and group != NO_GROUP}
    if not small:
        return found
    named = ", ".join(f"{group} ({count})" for group, count in small.items())
    choices = "--toxicity.too_few merge or drop, or lower --toxicity.min_group_rows"
    if too_few == "refuse":
        raise DataError(
            "groups have too few toxic statements",
            seen=named,
            allowed=f"at least {least} in each (toxicity.min_group_rows)",
            next_step=f"give more rows, or {choices}",
        )
    if too_few == "drop":
        toxic, done = [each for each in found.toxic if each.group not in small], "left out"
    else:
        toxic = [replace(each, group=NO_GROUP) if each.group in small else each for each in found.toxic]
        done = "merged with those of no group"
    if not toxic:
        raise DataError("no group has enough toxic statements", seen=named, next_step=choices)
    note = f"groups with fewer than {least} toxic statements {done}: {named}"
    return replace(found, toxic=toxic, notes=[*found.notes, note])


def choose(
    found: ToxicText, toxic: int | None, clean: int | None, seed: int, held_back: int = 0
) -> tuple[list[Statement], list[Statement], list[Statement]]:
    """(limited numbers of toxic and clean statements, the toxic ones left out), in random order.

    At least `held_back` are left out, but never more than a fifth for that reason. Every table gives the same number,
    as long as it has any; they are drawn at random. Rewrites of the toxic statements taken count as a table of
    clean text.
    """
    most = len(found.toxic) - min(held_back, len(found.toxic) // 5)
    taken, left = _from_each(found.toxic, min(most, toxic or most), seed, "toxic")
    rewrites = [replace(each, text=each.rewrite, toxic=False, rewrite=None) for each in taken if each.rewrite]
    kept, _ = _from_each(found.clean, clean, seed, "clean", rewrites)
    return taken, kept, left


def _from_each(
    statements: list[Statement], wanted: int | None, seed: int, name: str, more: Sequence[Statement] = ()
) -> tuple[list[Statement], list[Statement]]:
    tables: dict[str, list[Statement]] = {}
    for each in statements:
        tables.setdefault(each.table, []).append(each)
    generator = np.random.default_rng(random_seed(seed, "statements", name))
    shuffled = [[table[i] for i in generator.permutation(len(table))] for table in tables.values()]
    if more:
        shuffled.append([more[i] for i in generator.permutation(len(more))])
    in_turn = [each for turn in zip_longest(*shuffled) for each in turn if each is not None]
    return in_turn[:wanted], [] if wanted is None else in_turn[wanted:]
