"""Sheets: large pictures of square tiles, 32 in a row, and a table that says which tile is which."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from expunge.data.images.decoding import decode, resize
from expunge.data.images.folder import row_names
from expunge.data.images.listing import Listing, Pictures
from expunge.data.images.path_rows import LABEL_COLUMNS, refuse_outside
from expunge.data.images.table import typed_columns
from expunge.data.text.delimited import Table
from expunge.errors import DataError

PLACE = ("sheet", "row", "col")
TILES = 32
"tiles in a row of a sheet, and the most rows it has"
INDEX = "index"
_SHEET = re.compile(r"sheet_(\d+)\.(png|jpe?g|webp|bmp)")


def list_sheets(table: Table) -> Listing:
    """Tiles of `sheet_NN.jpg` beside the table, which has whole numbers `sheet`, `row` and `col`; `index` is the id.

    Each sheet is decoded once. The label is `age_group` if there is such a column.

    Raises:
        DataError: a place that is not a whole number or outside the sheets there are (line named).
    """
    folder = Path(table.name).parent
    columns, notes = typed_columns(table.cells)
    files = {int(match[1]): path for path in folder.iterdir() if (match := _SHEET.fullmatch(path.name))}
    for path in files.values():
        refuse_outside(folder, path, str(folder))
    places = [_place(columns[name], name, table) for name in PLACE]
    for values, name, allowed in zip(places, PLACE, (set(files), range(TILES), range(TILES)), strict=True):
        outside = np.flatnonzero(~np.isin(values, list(allowed)))
        if len(outside):
            first = int(outside[0])
            raise DataError(
                f"{table.where(first)}: there is no tile at {name} {values[first]}",
                allowed=f"{name} {min(allowed)} to {max(allowed)}" if allowed else f"no file sheet_NN.jpg in {folder}",
                next_step="check that all sheets are there, or remove the row",
            )
    sheet, row, col = places

    def pictures(count: int, size: int | None) -> Pictures:
        for number in np.unique(sheet[:count]):
            rows = np.flatnonzero(sheet[:count] == number)
            yield from _tiles(files[int(number)], rows, row, col, size)

    return Listing(
        ids=[str(name).strip() for name in table.cells[INDEX]] if INDEX in columns else row_names(len(sheet)),
        columns={name: column for name, column in columns.items() if name not in PLACE},
        decode=pictures,
        source=table.name,
        label=next((name for name in columns if name in ("age_group", *LABEL_COLUMNS)), None),
        notes=table.notes + notes,
    )


def _place(column: np.ndarray, name: str, table: Table) -> np.ndarray:
    if column.dtype.kind != "i":
        raise DataError(
            f"{table.name}: the column {name!r} holds other things than whole numbers",
            seen=next(repr(str(value)) for value in column),
            allowed="the number of a sheet, or of a tile's row or column in it",
        )
    return column


def _tiles(file: Path, rows: np.ndarray, row: np.ndarray, col: np.ndarray, size: int | None) -> Pictures:
    try:
        sheet = Image.fromarray(decode(file, str(file), None))
        side = sheet.width // TILES
        if not side or sheet.width % TILES or sheet.height % side:
            raise DataError(
                f"the sheet {file} does not divide into square tiles, {TILES} in a row",
                seen=f"{sheet.width} x {sheet.height} pixels",
            )
    except DataError as error:
        yield from ((int(index), error) for index in rows)
        return
    for index in rows:
        left, top = int(col[index]) * side, int(row[index]) * side
        if top < sheet.height:
            yield int(index), np.asarray(resize(sheet.crop((left, top, left + side, top + side)), size))
        else:
            yield (
                int(index),
                DataError(
                    f"the sheet {file} has no row {row[index]} of tiles",
                    allowed=f"0 to {sheet.height // side - 1}",
                    next_step="check that the sheet is whole, or remove the rows",
                ),
            )
