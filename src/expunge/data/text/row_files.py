"""Files of rows that are held whole: JSON lists, YAML, CSV and TSV."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from expunge.data.text.columns import Columns
from expunge.data.text.conversations import as_turns
from expunge.data.text.delimited import header_of, read_delimited
from expunge.data.text.document import Document
from expunge.data.text.file_kinds import FileKind
from expunge.data.text.notes import Notes
from expunge.data.text.row_forms import FIELDS, row_documents, used_fields
from expunge.data.text.rows import read_json_lines
from expunge.data.text.text_files import decode_utf8, open_text, read_bytes
from expunge.errors import DataError

NO_COLUMN = "a table without a column of text"


def read_json(path: Path, notes: Notes) -> Iterator[Document]:
    """Rows of a JSON file: a list of objects, texts or conversations, columns of lists, one object, or rows within one.

    Raises:
        DataError: no JSON in UTF-8, too large, no rows with text.
    """
    text = _text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            yield from read_json_lines(path, notes)  # whose first line is longer than what was looked at
            return
        raise DataError(f"{path} is not valid JSON", seen=error, next_step="repair the file") from error
    yield from _documents(value, path, notes)


def read_yaml(path: Path, notes: Notes) -> Iterator[Document]:
    """The same for YAML. Raises as `read_json`."""
    yield from _documents(_yaml(path), path, notes)


def _text(path: Path) -> str:
    return decode_utf8(read_bytes(path, "write it as JSON lines: jq -c '.[]' FILE.json > FILE.jsonl"), path)


def _yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        seen = " ".join(str(error).split())
        raise DataError(f"{path} is not valid YAML", seen=seen, next_step="repair the file") from error


def _documents(value: Any, path: Path, notes: Notes) -> Iterator[Document]:
    rows = _rows(value, notes.columns)
    if rows is None:
        raise DataError(
            f"{path} has no rows of text",
            seen=_shown(value),
            allowed=f"a list of objects with {FIELDS}",
            next_step="write the text as JSON lines, or name another file",
        )
    for number, row in enumerate(rows, 1):
        where = f"{path}:{number}"
        if not isinstance(row, Mapping):
            raise DataError(f"{where} is not an object", seen=repr(row)[:80], allowed=f"an object with {FIELDS}")
        yield from row_documents({str(name): cell for name, cell in row.items()}, where, notes)


def _rows(value: Any, columns: Columns) -> list[Any] | None:
    """Rows in what a file holds; None if there are none."""
    if isinstance(value, list):
        if as_turns(value):
            return [{"messages": value}]
        return [{"text": row} if isinstance(row, str) else {"messages": row} if as_turns(row) else row for row in value]
    if not isinstance(value, Mapping):
        return None
    values = list(value.values())
    fields = columns.fields(map(str, value))
    used = [fields[name] for name in used_fields(fields)]
    if used and all(isinstance(value.get(name), list) and not as_turns(value.get(name)) for name in used):
        lists = [value[name] for name in used]
        if len({len(each) for each in lists}) == 1:
            return [dict(zip(used, cells, strict=True)) for cells in zip(*lists, strict=True)]
    if used and all(isinstance(value.get(name), Mapping) and not as_turns(value.get(name)) for name in used):
        # columns by row number, as pandas writes them
        return [{name: value[name].get(key) for name in used} for key in value[used[0]]]
    if used:
        return [value]
    inner = [each for each in values if isinstance(each, list) and each and all(isinstance(r, Mapping) for r in each)]
    if len(inner) == 1:
        return _rows(inner[0], columns)
    if values and all(isinstance(each, Mapping) and used_fields(columns.fields(map(str, each))) for each in values):
        return values
    return None


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"an object with the fields {', '.join(map(str, list(value)[:8])) or '(none)'}"
    return f"a list of {len(value):,}" if isinstance(value, list) else repr(value)[:80]


def read_table(path: Path, notes: Notes) -> Iterator[Document]:
    """Rows of a CSV or TSV file, by the names of its columns.

    Raises:
        DataError: as `read_delimited`; no column of text that is known.
    """
    table = read_delimited(path)
    fields = notes.columns.fields(table.cells)
    used = [fields[name] for name in used_fields(fields)]
    if not used:
        raise no_column(path, list(table.cells), notes.columns)
    for note in table.notes:
        notes.say(note)
    notes.file("read as a table", path)
    notes.count(f"rows of tables, read from {' and '.join(used)}", len(table.lines))
    for row, cells in enumerate(zip(*(table.cells[name] for name in used), strict=True)):
        yield from row_documents(dict(zip(used, cells, strict=True)), table.where(row), notes)


def no_column(path: Path, header: list[str], columns: Columns) -> DataError:
    """The error for a table in which no column holds text."""
    return DataError(
        f"{path} is {NO_COLUMN}",
        seen=f"the columns {', '.join(header) or '(none)'}" + columns.asked(),
        allowed="a column `text`, or two such as `question` and `answer`, `prompt` and `completion`",
        next_step=f"say which column holds the text: --columns text={header[-1] if header else 'NAME'}; or rename it",
    )


def reason_no_rows(path: Path, kind: FileKind, columns: Columns) -> str | None:
    """Why a file of rows in a folder should be passed over: nothing in it is text; None for what should be read.

    What is damaged should be read: the error says where.
    """
    if kind.form not in ("table", "json", "yaml", "json lines"):
        return None
    try:
        if kind.form == "table":
            header = header_of(path)
            return (
                None
                if used_fields(columns.fields(header))
                else f"a table without a column of text ({', '.join(header[:8])})"
            )
        if kind.form == "json lines":
            with open_text(path) as file:
                value = json.loads(file.readline(1 << 24).decode("utf-8-sig"))
        else:
            value = json.loads(_text(path)) if kind.form == "json" else _yaml(path)
    except DataError:
        return "YAML that is not rows of text" if kind.form == "yaml" else None
    except (ValueError, RecursionError):
        return None
    rows = _rows(value, columns)
    first = rows[0] if rows else None
    if isinstance(first, Mapping) and used_fields(columns.fields(map(str, first))):
        return None
    return f"{kind.form} without a field of text ({_shown(value)})"
