"""A folder of pictures: one folder a class, or all in one."""

from __future__ import annotations

import os
from pathlib import Path

from expunge.data.images.decoding import SUFFIXES
from expunge.data.images.listing import Listing, decode_files, some
from expunge.data.images.path_rows import refuse_outside
from expunge.data.images.table import typed
from expunge.data.text.text_files import refuse_listing
from expunge.errors import DataError

SPLITS = {"train": 0, "training": 0, "validation": 1, "valid": 1, "val": 1, "dev": 1, "test": 2, "testing": 2}
"names of parts of a dataset; 0 is the one that is read"
LABEL = "label"
"the column in which class folders put their names"


def training_part(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The folder to read, where its folders are `train`, `test` and so on: the training part; and a note."""
    names = [entry.name for entry in _folders(folder)]
    chosen = [name for name in names if SPLITS.get(name.lower()) == 0]
    if not chosen or any(name.lower() not in SPLITS for name in names):
        return folder, ()
    others = [name for name in names if name != chosen[0]]
    note = (f"only the folder {chosen[0]} is read, not {some(others)}",) if others else ()
    return folder / chosen[0], note


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def list_folder(folder: Path) -> Listing:
    """Pictures below a folder; where it has folders, the first of them is the class of a picture.

    The order takes one picture of each class in turn, so the first rows are of all classes.

    Raises:
        DataError: no picture at all, pictures both in class folders and beside them, a link that leads out.
    """
    found: list[tuple[str, int, str]] = []
    passed_over: list[str] = []
    within: dict[str, int] = {}
    for name in sorted(_names(folder)):
        if not name.lower().endswith(SUFFIXES):
            passed_over.append(name)
            continue
        refuse_outside(folder, folder / name, str(folder))
        label = name.partition("/")[0] if "/" in name else ""
        within[label] = within.get(label, -1) + 1
        found.append((label, within[label], name))
    _refuse_empty_or_mixed(folder, found, passed_over, within)
    found.sort(key=lambda entry: (entry[1], entry[0]))
    names = [name for _, _, name in found]
    labels = typed([label for label, _, _ in found])
    classes = list(within) != [""]
    notes = [f"passed over, no pictures: {len(passed_over)} of the files: {some(passed_over)}"]
    empty = [entry.name for entry in _folders(folder) if entry.name not in within]
    notes_empty = [f"class folders without a picture: {some(empty)}"]
    return Listing(
        ids=names,
        columns={LABEL: labels} if classes and labels is not None else {},
        decode=decode_files([folder / name for name in names], [str(folder / name) for name in names]),
        source=str(folder),
        label=LABEL if classes else None,
        notes=tuple((notes if passed_over else []) + (notes_empty if classes and empty else [])),
    )


def _names(folder: Path) -> list[str]:
    """Files below the folder by relative path; hidden ones are not looked at."""
    names: list[str] = []
    for parent, folders, files in os.walk(folder, onerror=refuse_listing):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:  # links to folders are not followed: inside, they lead to what is read anyway
            refuse_outside(folder, Path(parent, name), str(folder))
        below = Path(parent).relative_to(folder)
        names += [(below / name).as_posix() for name in files if not name.startswith(".")]
    return names


def _refuse_empty_or_mixed(
    folder: Path, found: list[tuple[str, int, str]], passed_over: list[str], within: dict[str, int]
) -> None:
    if not found:
        raise DataError(
            f"the folder {folder} has no pictures",
            seen=f"{len(passed_over)} other files: {some(passed_over)}" if passed_over else "an empty folder",
            allowed=f"pictures ({', '.join(SUFFIXES)}) in class folders, or a labels.csv or Parquet files",
            next_step="check the path",
        )
    if "" in within and len(within) > 1:
        raise DataError(
            f"the folder {folder} has pictures both in class folders and beside them",
            seen=f"{next(name for label, _, name in found if not label)} beside "
            + some([f"{label}/" for label in within if label]),
            allowed="all pictures in class folders, or none",
            next_step="move the pictures into a class folder, or list them in a CSV of paths and labels",
        )


def row_names(count: int) -> list[str]:
    """Ids of pictures that have no other name: their row, counted from 0."""
    return [str(row) for row in range(count)]
