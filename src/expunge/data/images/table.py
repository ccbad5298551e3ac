"""Rows about pictures: CSV and JSON lines as columns of numbers or text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from expunge.data.text.delimited import Table
from expunge.data.text.text_files import decode_utf8, open_file
from expunge.errors import DataError, nearest

MAX_TEXT = 500
"longest text in a column: numpy reserves the longest for every row"

_INT = re.compile(r"-?(0|[1-9]\d{0,17})")
_FLOAT = re.compile(r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[nN]a[nN]|")


def read_json_rows(path: Path) -> Table:
    """JSON lines of flat objects; a field that a row lacks is empty there.

    Raises:
        DataError: with file and line, for what is not UTF-8 text or no object.
    """
    with open_file(path) as file:
        text = decode_utf8(file.read(), path)
    rows: list[dict[str, Any]] = []
    lines: list[int] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}:{number} is not valid JSON", seen=line[:60], next_step="repair the line"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number} is not a JSON object", seen=line[:60], allowed="one object a line")
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, lines)


def typed_columns(cells: dict[str, list[Any]]) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Columns as arrays, and notes on those left out: lists, objects, and text longer than `MAX_TEXT`."""
    columns = {name: typed(values) for name, values in cells.items()}
    left = [name for name, column in columns.items() if column is None]
    notes = (f"left out, since they are not numbers or short text: {', '.join(left)}",) if left else ()
    return {name: column for name, column in columns.items() if column is not None}, notes


def typed(values: Sequence[Any]) -> np.ndarray | None:
    """Whole numbers as int64, numbers with gaps as float64 (a gap is NaN), everything else as text.

    Text such as `007` stays text: it is a name. None if the values are neither numbers nor short text.
    """
    texts = [_text(value) for value in values]
    if any(text is None or len(text) > MAX_TEXT for text in texts):
        return None
    known = [text for text in texts if text is not None]
    if known and all(map(_INT.fullmatch, known)):
        return np.array([int(text) for text in known], np.int64)
    if any(known) and all(map(_FLOAT.fullmatch, known)):
        return np.array([float(text or "nan") for text in known], np.float64)
    return np.array(known, np.str_)


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value).strip() if isinstance(value, str | int | float) else None


def missing_column(name: str, columns: Sequence[str], source: str) -> DataError:
    near = nearest(name, columns)
    return DataError(
        f"{source} has no column {name!r}",
        seen=f"the columns {', '.join(columns)}" if columns else "no columns",
        next_step=f"did you mean {near!r}?" if near else "name one of the columns",
    )
