"""Rows out of JSON lines, Parquet, Arrow and Hugging Face datasets. All of them streamed."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from expunge.data.text.columns import Columns
from expunge.data.text.conversations import LISTS, as_turns
from expunge.data.text.document import Document
from expunge.data.text.notes import Notes
from expunge.data.text.row_forms import FIELDS, row_documents, used_fields
from expunge.data.text.text_files import bad_utf8, open_file, open_text, refuse_binary
from expunge.errors import DataError

MAX_ROW = 1 << 24
"most bytes in one line of JSON: a row is held whole"
PARQUET_BATCH = 256
"rows decoded at once"
_READABLE = ("string", "large_string", "list", "large_list", "struct", "fixed_size_list")
"types of columns that may hold text or a conversation"
_MAY_BE_LISTS = (*LISTS, "chosen", "rejected", "prompt", "completion", "history")
"columns that may hold turns"


def read_json_lines(path: Path, notes: Notes) -> Iterator[Document]:
    """One object a line, or one conversation (a list of turns); empty lines are passed over.

    Raises:
        DataError: with file and line, for a line that is not UTF-8, no JSON, no object, too long, or without fields.
    """
    with open_text(path) as file:
        offset, number = 0, 0
        while line := file.readline(MAX_ROW + 1):
            number += 1
            where = f"{path}:{number}"
            if number == 1:
                refuse_binary(path, line)
            if len(line) > MAX_ROW:
                raise DataError(
                    f"{where} is too long for one row",
                    allowed=f"at most {MAX_ROW:,} bytes a line",
                    next_step="put long passages into text files, or split the row",
                )
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise bad_utf8(path, error, offset, number) from error
            offset += len(line)
            text = text.removeprefix("\ufeff") if number == 1 else text
            if text.strip():
                yield from row_documents(_parse(text, where), where, notes)


def _parse(text: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        step = "convert it: jq -c . FILE.json > FILE.jsonl" if text.strip() == "{" else "repair or remove the line"
        raise DataError(
            f"{where} is not valid JSON",
            seen=f"{text.strip()[:60]!r} ({error})",
            allowed="one JSON object a line",
            next_step=step,
        ) from error
    if as_turns(row) and not isinstance(row, dict):
        return {"messages": row}
    if not isinstance(row, dict):
        raise DataError(
            f"{where} is not a JSON object", seen=repr(text.strip()[:60]), allowed=f"an object with {FIELDS}"
        )
    return row


def pyarrow_for(path: Path) -> Any:
    """The package that reads Parquet and Arrow files. Raises DataError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError as error:
        raise DataError(
            f"reading {path} needs pyarrow", next_step='install the extra: pip install "expunge[parquet]"'
        ) from error
    return pyarrow


@contextlib.contextmanager
def _opened(path: Path, kind: str) -> Iterator[tuple[Any, BinaryIO]]:
    """pyarrow and a file for it; what it finds damaged becomes a `DataError`."""
    pa = pyarrow_for(path)
    with open_file(path) as file:
        try:
            yield pa, file
        except pa.ArrowException as error:
            raise DataError(
                f"{path} is not a {kind} file that can be read",
                seen=str(error).splitlines()[0],
                next_step="write it again, or give JSON lines",
            ) from error


def read_parquet(path: Path, notes: Notes) -> Iterator[Document]:
    """Rows of a Parquet file, decoded in batches of `PARQUET_BATCH`. Raises as `read_arrow`."""
    _, rows = parquet_rows(path, lambda types: _usable_columns(types, path, notes.columns))
    for where, row in rows:
        yield from row_documents(row, where, notes)


def read_arrow(path: Path, notes: Notes) -> Iterator[Document]:
    """Rows of an Arrow file, as `datasets` saves them (a stream) or as Feather (a file), a batch at a time.

    Raises:
        DataError: pyarrow is not installed, a damaged file, no usable column, a cell that is not text (row named).
    """
    with _opened(path, "Arrow") as (pa, file):
        whole = file.read(6) == b"ARROW1"
        file.seek(0)
        reader = pa.ipc.open_file(file) if whole else pa.ipc.open_stream(file)
        used = _usable_columns({field.name: str(field.type) for field in reader.schema}, path, notes.columns)
        batches = (reader.get_batch(i) for i in range(reader.num_record_batches)) if whole else reader
        rows = (row for batch in batches for row in batch.select(used).to_pylist())
        for number, row in enumerate(rows, 1):
            yield from row_documents(row, f"{path}:{number}", notes)


def parquet_rows(
    path: Path, wanted: Callable[[Mapping[str, str]], list[str]] = list
) -> tuple[list[str], Iterator[tuple[str, dict[str, Any]]]]:
    """(columns, rows with where each stands: `file:row`) of a Parquet file; only the first batch is decoded at once.

    Args:
        wanted: which columns to read, given the type of each.

    Raises:
        DataError: pyarrow is not installed, or a damaged file; for what is damaged further on, while rows are taken.
    """
    with _opened(path, "Parquet") as (pa, file):
        schema = pa.parquet.ParquetFile(file, pre_buffer=False).schema_arrow
    columns = wanted({field.name: str(field.type) for field in schema})

    def rows() -> Iterator[tuple[str, dict[str, Any]]]:
        with _opened(path, "Parquet") as (pa, file):
            table = pa.parquet.ParquetFile(file, pre_buffer=False)
            batches = table.iter_batches(PARQUET_BATCH, columns=columns, use_threads=False)
            for number, row in enumerate((row for batch in batches for row in batch.to_pylist()), 1):
                yield f"{path}:{number}", row

    return columns, rows()


def _usable_columns(types: Mapping[str, str], path: Path, columns: Columns) -> list[str]:
    readable = [name for name, kind in types.items() if kind.removeprefix("dictionary<values=").startswith(_READABLE)]
    fields = columns.fields(readable)
    used = used_fields(fields)
    listed = [name for name in used if "list" in types[fields[name]] or "struct" in types[fields[name]]]
    if not used or any(name.strip().lower() not in _MAY_BE_LISTS for name in listed):
        raise DataError(
            f"{path} has no usable column",
            seen=", ".join(f"{name} ({kind})" for name, kind in types.items()) or "no columns",
            allowed=FIELDS,
            next_step="say which column holds the text: --columns text=NAME; or rename it",
        )
    return [fields[name] for name in used]


def read_dataset(name: str, notes: Notes) -> Iterator[Document]:
    """Rows of a Hugging Face dataset, streamed: `owner/name` or `owner/name:configuration`.

    The split `train` is read, or the only one there is.

    Raises:
        DataError: `datasets` is not installed, no network, no such dataset, no split to choose, unusable rows.
    """
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"reading the dataset {name} needs the library datasets",
            next_step='install the extra: pip install "expunge[datasets]"; '
            "for a file or folder check the path, for a topic use words with a space",
        ) from error
    identifier, _, configuration = name.partition(":")
    try:
        splits = datasets.load_dataset(identifier, configuration or None, streaming=True)
        split = "train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None
        if split is None:
            raise DataError(
                f"the dataset {name} has no split `train`",
                seen=", ".join(splits),
                next_step="download the split you mean and give its file",
            )
        for number, row in enumerate(splits[split], 1):
            yield from row_documents(row, f"{name}:{number}", notes)
    except DataError:
        raise
    except Exception as error:  # every loader and transport below `datasets` has exceptions of its own
        raise _dataset_error(name, error) from error


def _dataset_error(name: str, error: BaseException) -> DataError:
    chain, cause = "", error
    while cause is not None:
        chain += f" {type(cause).__name__}"
        cause = cause.__cause__ or cause.__context__  # type: ignore[assignment]
    unreachable = os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0") or any(
        word in chain for word in ("Connect", "Timeout", "Offline", "gaierror")
    )
    what = f"the dataset {name} cannot be reached" if unreachable else f"the dataset {name} cannot be read"
    step = (
        "connect to the network, or download the dataset elsewhere and give the path of its files"
        if unreachable
        else "check the id (owner/name or owner/name:configuration); for a topic use words with a space"
    )
    message = str(error).strip().splitlines()
    return DataError(what, seen=f"{type(error).__name__}: {message[0] if message else ''}", next_step=step)
