"""Rows that name a picture file each, a CSV of paths and labels or the metadata of a folder; and paths that are refused."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from expunge.data.images.listing import Listing, decode_files
from expunge.data.images.table import typed_columns
from expunge.data.text.delimited import Table
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


def inside(folder: Path, name: str, where: str) -> Path:
    """The file that `name` means below `folder`; it stands at `where`.

    Raises:
        DataError: an empty or absolute path, one with `..`, or a link that leads out of the folder.
    """
    plain = name.replace("\\", "/")
    parts = PurePosixPath(plain)
    if not plain.strip() or "\0" in plain or parts.is_absolute() or PureWindowsPath(name).drive or ".." in parts.parts:
        raise _escape(folder, name, where)
    path = folder / plain
    refuse_outside(folder, path, where)
    return path


def refuse_outside(folder: Path, path: Path, where: str) -> None:
    """Raise if a link takes the path out of the folder.

    The cache of the Hugging Face hub is one folder in this: its snapshots are links to blobs beside them.
    """
    root = folder.resolve()
    for parent in (root, *root.parents):
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            root = parent.parent
            break
    if not path.resolve().is_relative_to(root):
        raise _escape(folder, str(path.relative_to(folder)), where)


def _escape(folder: Path, name: str, where: str) -> DataError:
    return DataError(
        f"{where} names a picture that is not inside {folder}",
        seen=repr(name),
        allowed="a path relative to that folder, without .. and without links that lead out",
        next_step="move the picture into the folder, or give the folder that holds all pictures",
    )
