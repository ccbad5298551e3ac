"""Lists of what to forget: a file of ids, or of values of a column, such as people."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from expunge.data.images.image_set import ImageSet
from expunge.data.images.listing import some
from expunge.data.images.path_rows import PATH_COLUMNS
from expunge.data.images.table import typed
from expunge.data.text.delimited import read_delimited
from expunge.data.text.text_files import read_text_file
from expunge.errors import DataError, did_you_mean

ENDINGS = (".csv", ".txt")
ID_COLUMNS = ("id", "ids", "index", *PATH_COLUMNS)
"columns of a list that name pictures"


def listed(path: Path, images: ImageSet) -> np.ndarray:
    """Rows that a file names, (n,) bool.

    A `.txt` file, or a `.csv` of one column without header, has an id a line. In a `.csv` with a header, a column of
    `ID_COLUMNS` that is not a column of the data holds ids. Otherwise the one column it shares with the data counts: all
    pictures with one of its values, so a list of people means all their pictures.

    Raises:
        DataError: an empty list, ids or values that the data lacks, no column to go by, or several.
    """
    if path.suffix.lower() == ".txt":
        text = "".join(document.text for document in read_text_file(path))
        return _by_id([line.strip() for line in text.split("\n") if line.strip()], path, images)
    table = read_delimited(path)
    if len(table.cells) == 1 and (first := next(iter(table.cells))) in set(images.ids):
        return _by_id([first, *map(str.strip, next(iter(table.cells.values())))], path, images)
    naming = table.first_of([name for name in ID_COLUMNS if name not in images.columns])
    if naming is not None:
        return _by_id([str(cell).strip() for cell in table.cells[naming]], path, images)
    shared = [name for name in table.cells if name in images.columns]
    naming = next((name for name in ID_COLUMNS if name in shared), None)
    if naming is None and len(shared) == 1:
        naming = shared[0]
    if naming is None:
        raise DataError(
            f"{path} does not say which pictures it means",
            seen=f"the columns {', '.join(table.cells)}"
            + (f", of which the data has {', '.join(shared)}" if shared else ""),
            allowed=f"a column of ids ({', '.join(ID_COLUMNS)}), or one column of the data ({', '.join(images.columns)})",
            next_step="keep the one column that names them, such as person" if shared else "rename the column",
        )
    return _by_value(table.cells[naming], naming, path, images)


def _by_id(wanted: list[str], path: Path, images: ImageSet) -> np.ndarray:
    _refuse_empty(wanted, path)
    rows = {name: row for row, name in enumerate(images.ids)}
    unknown = [name for name in dict.fromkeys(wanted) if name not in rows]
    if unknown:
        raise _unknown(unknown, f"{len(dict.fromkeys(wanted))} ids", path, images.source, list(images.ids))
    mask = np.zeros(len(images), bool)
    mask[[rows[name] for name in wanted]] = True
    return mask


def _by_value(cells: list[str], column: str, path: Path, images: ImageSet) -> np.ndarray:
    values = [cell.strip() for cell in cells if cell.strip()]
    _refuse_empty(values, path)
    known = images.columns[column]
    wanted = typed(values)
    if wanted is None or (wanted.dtype.kind == "U") != (known.dtype.kind == "U"):
        known, wanted = known.astype(np.str_), np.array(values, np.str_)
    missing = np.setdiff1d(wanted, known)
    if len(missing):
        names = [str(value) for value in missing]
        total = f"{len(np.unique(wanted))} values of {column}"
        raise _unknown(names, total, path, images.source, [str(value) for value in np.unique(known)])
    return np.isin(known, wanted)


def _refuse_empty(values: list[str], path: Path) -> None:
    if not values:
        raise DataError(f"{path} names nothing to forget", seen="no rows", next_step="write one id a line")


def _unknown(unknown: list[str], total: str, path: Path, source: str, known: list[str]) -> DataError:
    return DataError(
        f"{path} names {len(unknown)} of {total} that {source} does not have",
        seen=some(unknown),
        allowed=f"names such as {some(known)}",
        next_step=did_you_mean(unknown[0], known[:10_000]) or "check that the list belongs to this data",
    )
