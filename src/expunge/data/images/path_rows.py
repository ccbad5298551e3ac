"""Rows that name a picture file each: a CSV of paths and labels, or the metadata of an image folder."""

from __future__ import annotations

from pathlib import Path

from expunge.data.images.listing import Listing, decode_files
from expunge.data.images.paths import inside
from expunge.data.images.table import Table, typed_columns
from expunge.errors import DataError

PATH_COLUMNS = ("path", "file", "image", "file_name", "filename")
LABEL_COLUMNS = ("label", "labels", "class", "target")


def list_path_rows(table: Table) -> Listing:
    """The pictures of a table with a column of `PATH_COLUMNS`; paths are relative to the table's folder.

    Raises:
        DataError: no such column, no rows, a path that leads out of the folder (with its line).
    """
    column = table.first_of(PATH_COLUMNS)
    if column is None:
        raise DataError(
            f"{table.name} names no pictures",
            seen=f"the columns {', '.join(table.cells)}",
            allowed=f"a column {', '.join(PATH_COLUMNS)}; or sheet, row and col",
            next_step="name the column of paths `path`",
        )
    folder = Path(table.name).parent
    names = [str(name).strip() for name in table.cells[column]]
    files = [inside(folder, name, table.where(row)) for row, name in enumerate(names)]
    columns, notes = typed_columns({name: cells for name, cells in table.cells.items() if name != column})
    return Listing(
        ids=[path.relative_to(folder).as_posix() for path in files],
        columns=columns,
        decode=decode_files(files, [f"{path} ({table.where(row)})" for row, path in enumerate(files)]),
        source=table.name,
        label=next((name for name in columns if name.lower() in LABEL_COLUMNS), None),
        notes=table.notes + notes,
    )
