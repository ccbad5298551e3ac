"""Spreadsheets (.xlsx): rows, by the names in a sheet's first row. Read by openpyxl, which is written in Python alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from expunge.data.text.columns import Columns
from expunge.data.text.document import Document
from expunge.data.text.documents.zipped import MOST, Zipped
from expunge.data.text.notes import Notes
from expunge.data.text.row_files import NO_COLUMN, no_column
from expunge.data.text.row_forms import row_documents, used_fields
from expunge.data.text.text_files import read_bytes
from expunge.errors import DataError, first_line

MOST_CELLS = 1 << 25
"most cells of a file, with the empty ones that openpyxl makes between others"
Sheet = tuple[str, tuple[str, ...], tuple[tuple[int, tuple[Any, ...]], ...]]
"(name, names of columns, (number of the row, cells) of each row that is not empty)"


def read_sheets(path: Path, notes: Notes) -> Iterator[Document]:
    """Rows of every sheet that has a column of text.

    Raises:
        DataError: damaged, encrypted, too large; no sheet with a column of text.
    """
    used_any = False
    sheets = sheets_of(path)
    for name, header, rows in sheets:
        fields = notes.columns.fields(header)
        used = used_fields(fields)
        if not used:
            continue
        used_any = True
        notes.count(f"rows of spreadsheets, read from {' and '.join(used)}", len(rows))
        places = {name: header.index(fields[name]) for name in used}
        for number, cells in rows:
            row = {fields[name]: _text(cells[at] if at < len(cells) else None) for name, at in places.items()}
            yield from row_documents(row, f"{path}, sheet {name}, row {number}", notes)
    if not used_any:
        raise no_column(path, [name for _, header, _ in sheets for name in header], notes.columns)
    notes.file("read as a spreadsheet: values of its cells", path)


def reason_no_sheets(path: Path, columns: Columns) -> str | None:
    """Why a spreadsheet in a folder should be passed over; None for what should be read."""
    try:
        sheets = sheets_of(path)
    except DataError as error:
        return error.what.replace(str(path), "").strip(" ,")
    return None if any(used_fields(columns.fields(header)) for _, header, _ in sheets) else NO_COLUMN


def sheets_of(path: Path) -> tuple[Sheet, ...]:
    """The sheets of a file, its cells' values; formulas are what they came to. Raises DataError."""
    seen = path.stat()
    return _sheets_of(path, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=4)
def _sheets_of(path: Path, size: int, changed: int) -> tuple[Sheet, ...]:
    import openpyxl

    content = read_bytes(path, "save it as .csv", MOST, text=False)
    zipped = Zipped(content, path, "spreadsheet (.xlsx)")
    for name in sorted(zipped.names):  # a sheet may have any name; what it must not hold is found before it is parsed
        zipped.refuse_declarations(name, zipped.read_xml(name))
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        room = _Room(path)
        return tuple(found for sheet in book.worksheets if (found := _sheet(sheet, room)) is not None)
    except (ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, SyntaxError) as error:
        raise zipped.damaged(f"{type(error).__name__}: {first_line(error)}") from error


class _Room:
    """Counts what the cells of all sheets take, those that are empty too."""

    def __init__(self, path: Path) -> None:
        self._path, self._left = path, MOST_CELLS

    def filled(self, sheet: Any, width: int | None = None) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """(number, cells) of the rows that are not empty, up to a width. Raises DataError for too many cells."""
        for number, cells in enumerate(sheet.iter_rows(max_col=width, values_only=True), 1):
            self._left -= len(cells) + 1
            if self._left < 0:
                raise DataError(
                    f"{self._path} has more than {MOST_CELLS:,} cells, empty ones among them",
                    seen=f"sheet {sheet.title}, row {number:,}",
                    next_step="save it as .csv, or delete its empty rows and columns",
                )
            if any(cell not in (None, "") for cell in cells):
                yield number, cells


def _sheet(sheet: Any, room: _Room) -> Sheet | None:
    sheet.reset_dimensions()  # the size that it states may be any
    first = next(room.filled(sheet), None)
    if first is None:
        return None
    header = tuple("" if cell is None else str(cell).strip() for cell in first[1])
    while header and not header[-1]:  # one cell far to the right would widen every row
        header = header[:-1]
    rows = room.filled(sheet, len(header)) if header else iter(())
    return str(sheet.title), header, tuple(row for row in rows if row[0] > first[0])


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell)
