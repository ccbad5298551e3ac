"""Tables of cells in text (CSV, TSV): which mark stands between cells, and whether quotation marks enclose them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core.words import counted
from expunge.data.text.file_kinds import ending
from expunge.data.text.text_files import decode_utf8, open_text, read_bytes, refuse_binary
from expunge.errors import DataError

MAX_CELL = 1 << 24
"most characters in a cell"
LONG_CELL = 20_000
"characters from which on a cell is worth a note"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells by column, and where each row stands."""

    name: str
    cells: dict[str, list[Any]]
    lines: list[int]
    "line of each row, counted from 1"
    notes: tuple[str, ...] = ()
    "what a reader must know of how it was read: quotation marks that are text, very long cells"

    def where(self, row: int) -> str:
        return f"{self.name}:{self.lines[row]}"

    def first_of(self, names: Sequence[str]) -> str | None:
        """The first of these names that is a column, upper case or lower."""
        spelled = {column.lower(): column for column in reversed(self.cells)}
        return next((spelled[name] for name in names if name in spelled), None)


def read_delimited(path: Path) -> Table:
    """Read a CSV or TSV file with a header.

    Cells are separated by a comma, a semicolon or a tab, whichever the header has most of (a tab in `.tsv` and `.tab`, a bar
    in `.psv`, where the header has any). Quotation marks enclose cells only where the file shows it: a cell begins with
    one, and all rows then have as many cells as the header. In a table with tabs, where marks of quotation are often text,
    the rows must not be as many cells without that, too, unless a whole column is quoted or marks within are doubled.

    Raises:
        DataError: with file and line: what is not UTF-8 text, a row of the wrong length, a repeated column, a cell that
            swallowed other rows.
    """
    content = read_bytes(path, "split the table into several files")
    refuse_binary(path, content[: 1 << 16])
    limit = csv.field_size_limit(MAX_CELL)
    try:
        return _parse(decode_utf8(content, path), path)
    finally:
        csv.field_size_limit(limit)


def header_of(path: Path) -> list[str]:
    """The names of the columns, out of the first line alone."""
    with open_text(path) as file:
        lines = file.read(1 << 16).decode("utf-8-sig", errors="replace").lstrip("\r\n").splitlines()
    first = lines[0] if lines else ""
    return [name.strip() for name in next(csv.reader([first], delimiter=_delimiter(first, ending(path.name))), [])]


def _parse(text: str, path: Path) -> Table:
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = _delimiter(first, ending(path.name))
    shown = re.search(rf'(?:^|{re.escape(delimiter)})[ ]?"', text, re.MULTILINE) is not None
    chosen = _Parsed(text, delimiter, False)
    if shown and _quotes_enclose(chosen, quoted := _Parsed(text, delimiter, True), delimiter):
        chosen = quoted
    header = [name.strip() for name in chosen.header]
    _check_header(header, path)
    if chosen.error is not None:
        raise DataError(
            f"{path}:{chosen.end} is not CSV", seen=chosen.error, next_step="repair the row"
        ) from chosen.error
    for row, line in zip(chosen.rows, chosen.lines, strict=True):
        if len(row) != len(header):
            raise DataError(
                f"{path}:{line} has {counted(len(row), 'cell')}",
                seen=delimiter.join(row)[:80],
                allowed=f"{len(header)}, as in the header",
                next_step="repair the row; put a cell that holds a "
                + {"\t": "tab", ",": "comma"}.get(delimiter, delimiter)
                + " into quotes",
            )
    if chosen.quoted and delimiter == "\t":
        _refuse_swallowed(chosen, len(header), path)
    columns = [list(column) for column in zip(*chosen.rows, strict=True)] or [[] for _ in header]
    return Table(str(path), dict(zip(header, columns, strict=True)), chosen.lines, _notes(chosen, shown, path))


def _delimiter(first: str, known: str) -> str:
    usual = {".tsv": "\t", ".tab": "\t", ".psv": "|"}.get(known)
    if usual is not None and usual in first:
        return usual
    best = max(",;\t", key=first.count)
    return best if best in first or "|" not in first else "|"


class _Parsed:
    """A table read with or without quoting, and what went wrong on the way."""

    def __init__(self, text: str, delimiter: str, quoted: bool) -> None:
        self.quoted = quoted
        self.rows: list[list[str]] = []
        self.lines: list[int] = []
        self.error: csv.Error | None = None
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
            strict=True,
        )
        filled = filter(None, reader)
        self.header: list[str] = []
        try:
            self.header = next(filled, [])
            for row in filled:
                self.rows.append(row)
                self.lines.append(reader.line_num)
        except csv.Error as error:
            self.error = error
        self.end = reader.line_num

    @property
    def even(self) -> bool:
        """Whether every row has as many cells as the header."""
        return self.error is None and {len(row) for row in self.rows} <= {len(self.header)}


def _quotes_enclose(plain: _Parsed, quoted: _Parsed, delimiter: str) -> bool:
    if delimiter != "\t" and "unexpected end" in str(quoted.error):
        return True  # a mark that is never closed: it is said where
    if quoted.even != plain.even:
        return quoted.even
    if delimiter != "\t":
        # Between commas a mark at the beginning of a cell is one of quoting, unless rows vanish in it.
        return not quoted.even or len(quoted.rows) == len(plain.rows)
    if not quoted.even or len(quoted.rows) != len(plain.rows):
        return False
    cells = [cell for row in plain.rows for cell in row if cell.startswith('"')]
    if any('""' in cell[1:-1] for cell in cells):
        return True
    return any(all(cell.startswith('"') for cell in column) for column in zip(*plain.rows, strict=True))


def _refuse_swallowed(parsed: _Parsed, width: int, path: Path) -> None:
    """Between tabs, a cell that holds whole rows is not a cell: a mark that is text was taken for the beginning of one."""
    for row, line in zip(parsed.rows, parsed.lines, strict=True):
        for cell in row:
            if width > 1 and any(inner.count("\t") == width - 1 for inner in cell.split("\n")[1:-1]):
                raise DataError(
                    f"{path}:{line}: a quotation mark swallows whole rows",
                    seen=repr(cell[:80]),
                    next_step='write marks of quotation that are text twice ("") in quoted cells, or quote no cell at all',
                )


def _notes(parsed: _Parsed, shown: bool, path: Path) -> tuple[str, ...]:
    notes = []
    if shown and not parsed.quoted:
        notes.append(f"{path.name}: quotation marks at the beginning of cells are text: they enclose no cells")
    longest, where = max(
        ((len(cell), line) for row, line in zip(parsed.rows, parsed.lines, strict=True) for cell in row), default=(0, 0)
    )
    if longest > LONG_CELL:
        notes.append(
            f"{path.name}:{where} has a cell of {longest:,} characters, the longest of {len(parsed.rows):,} rows"
        )
    broken = sum("\n" in cell.strip() for row in parsed.rows for cell in row)
    if broken and ending(path.name) in (".tsv", ".tab"):
        notes.append(f"{path.name}: cells with line breaks in them: {broken:,}")
    return tuple(notes)


def _check_header(header: list[str], path: Path) -> None:
    twice = next((name for name in header if header.count(name) > 1), None)
    if not header or twice is not None:
        raise DataError(
            f"{path} has {'no header' if twice is None else f'two columns {twice!r}'}",
            allowed="a first line that names each column once",
            next_step="write the names of the columns into the first line",
        )
