"""Reading pictures, whatever they come as."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from expunge.data.images.arrays import list_arrays
from expunge.data.images.folder import list_folder, training_part
from expunge.data.images.hub import fetch
from expunge.data.images.image_set import ImageSet
from expunge.data.images.labels import labels_of, refuse_one_class
from expunge.data.images.listing import Listing, decode_rows
from expunge.data.images.parquet import list_parquet
from expunge.data.images.path_rows import list_path_rows
from expunge.data.images.sheets import PLACE, list_sheets
from expunge.data.images.table import read_json_rows
from expunge.data.text.delimited import Table, read_delimited
from expunge.data.text.targets import DATASET_ID
from expunge.errors import DataError, nearest

TABLES = ("labels.csv", "metadata.csv", "metadata.jsonl")
"tables that speak for the folder they are in"
SOURCES = (
    "a folder of class folders, a CSV of paths and labels, a folder of sheets with labels.csv, an .npz file, "
    "Parquet, or the id of a Hugging Face dataset"
)


def read_images(
    source: str,
    *,
    size: int | None,
    label: str | None = None,
    limit: int | None = None,
    skip_unreadable: bool = False,
    bins: int | None = None,
) -> ImageSet:
    """Pictures with labels, ids and columns from any of `SOURCES`.

    Args:
        size: width and height in pixels to bring all pictures to; None keeps theirs, which must then be equal.
        label: the column whose values are the classes; without it the source's usual one, or no labels.
        limit: only the first this many rows; others are not decoded. Classes are those of all rows.
        skip_unreadable: leave out pictures that cannot be read and say so in the notes, rather than raise.
        bins: cut `label`, a column of numbers, into this many classes of equal width.

    Raises:
        DataError: nothing readable there, or what the readers refuse; each names the file or row.
    """
    for name, value, least in (("size", size, 1), ("limit", limit, 1), ("bins", bins, 2)):
        if value is not None and value < least:
            raise DataError(f"{name} is too small", seen=value, allowed=f"at least {least}")
    listing = _list(source)
    if not len(listing.ids):
        raise DataError(f"{source} has no rows", allowed="one row for each picture", next_step="check the file")
    labels, classes = labels_of(listing, label, bins)
    count = min(limit or len(listing.ids), len(listing.ids))
    pixels, rows, skipped = decode_rows(listing, count, size, skip_unreadable)
    images = ImageSet(
        pixels=pixels,
        labels=labels[rows],
        ids=tuple(listing.ids[row] for row in rows),
        columns={name: column[rows] for name, column in listing.columns.items()},
        classes=classes,
        source=source,
        notes=listing.notes + skipped,
    )
    refuse_one_class(images.labels, classes, source)
    return images


def _list(source: str) -> Listing:
    path = Path(os.path.expanduser(source))
    if path.is_dir():
        return _list_folder(path)
    if path.exists():
        return _list_file(path)
    refuse_missing(source)
    return _list_folder(fetch(source))


def refuse_missing(source: str) -> None:
    """Raise `DataError` if there is no such file or folder, and the name is not an id of a dataset."""
    path = Path(os.path.expanduser(source))
    is_id = source.strip() and DATASET_ID.fullmatch(source) and not path.parent.is_dir() and not source.startswith(".")
    if path.exists() or is_id:
        return
    names = sorted(entry.name for entry in path.parent.iterdir()) if path.parent.is_dir() else []
    near = nearest(path.name, names)
    raise DataError(
        f"there is no file or folder {source!r}",
        allowed=SOURCES,
        next_step=f"did you mean {path.parent / near}?" if near else "check the path",
    )


def _list_file(path: Path) -> Listing:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return list_arrays(path)
    if suffix == ".parquet":
        return list_parquet(path.parent, [path])
    if suffix in (".csv", ".tsv"):
        return _list_table(read_delimited(path))
    if suffix == ".jsonl":
        return _list_table(read_json_rows(path))
    raise DataError(f"{path} is not data of pictures", seen=f"the ending {suffix or '(none)'}", allowed=SOURCES)


def _list_folder(folder: Path) -> Listing:
    part, notes = training_part(folder)
    for name in TABLES:
        if (part / name).is_file():
            listing = _list_file(part / name)
            return replace(listing, notes=notes + listing.notes)
    files = [path for path in folder.rglob("*.parquet") if not path.name.startswith(".")]
    listing = list_parquet(folder, files) if files else list_folder(part)
    return replace(listing, notes=listing.notes if files else notes + listing.notes)


def _list_table(table: Table) -> Listing:
    return list_sheets(table) if np.isin(PLACE, list(table.cells)).all() else list_path_rows(table)
