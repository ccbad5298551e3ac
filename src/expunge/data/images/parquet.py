"""Parquet files with a column of pictures, as Hugging Face datasets have them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.data.images.folder import SPLITS, row_names
from expunge.data.images.listing import Listing, Pictures, attempt, some
from expunge.data.images.path_rows import LABEL_COLUMNS, inside, refuse_outside
from expunge.data.images.table import typed_columns
from expunge.data.text.rows import pyarrow_for
from expunge.errors import DataError

BATCH = 64
"pictures read at once"


def list_parquet(folder: Path, files: list[Path]) -> Listing:
    """Rows of the training part (files or folders named `train`), or of all files where no part is named.

    The picture is a struct with `bytes` or a `path` below the folder, or plain bytes. Columns of class indices have
    their names from the metadata of `datasets`; the first of them is the label where no column is called so. Ids are row
    numbers, counted over the files in order of name.

    Raises:
        DataError: pyarrow is not installed, a damaged file, no column of pictures, several parts and no `train`.
    """
    chosen, notes = _training_files(folder, files)
    for file in chosen:
        refuse_outside(folder, file, str(folder))
    cells: dict[str, list[Any]] = {}
    names: dict[str, tuple[str, ...]] = {}
    picture, count = "", 0
    for file in chosen:
        with _opened(file) as parquet:
            schema = parquet.schema_arrow
            picture = _picture_column(schema, file)
            names = names or _class_names(schema)
            others = [field.name for field in schema if field.name != picture]
            if cells and list(cells) != others:
                raise DataError(
                    f"{file} has other columns than {chosen[0]}", seen=some(others), allowed=some(list(cells))
                )
            table = parquet.read(columns=others).to_pydict() if others else {}
            for name in others:
                cells.setdefault(name, []).extend(table[name])
            count += parquet.metadata.num_rows
    columns, left = typed_columns(cells)

    def pictures(wanted: int, size: int | None) -> Pictures:
        for row, value, where in _values(chosen, picture, wanted):
            if isinstance(value, dict):
                value = value.get("bytes") or value.get("path")
            if isinstance(value, str):
                value = inside(folder, value, where)
            missing = DataError(f"the picture of {where} is empty", next_step="remove the row, or skip unreadable ones")
            yield row, missing if not value else attempt(value, where, size)

    return Listing(
        ids=row_names(count),
        columns=columns,
        decode=pictures,
        source=str(folder),
        label=next(
            (name for name in columns if name in LABEL_COLUMNS), next((name for name in columns if name in names), None)
        ),
        class_names={name: values for name, values in names.items() if name in columns},
        notes=notes + left,
    )


def _training_files(folder: Path, files: list[Path]) -> tuple[list[Path], tuple[str, ...]]:
    parts: dict[str, list[Path]] = {}
    for file in sorted(files):
        words = [*file.relative_to(folder).parts[:-1], file.stem.split("-")[0]]
        parts.setdefault(next((word.lower() for word in words if word.lower() in SPLITS), ""), []).append(file)
    training = [name for name in parts if SPLITS.get(name) == 0]
    if len(parts) == 1:
        return next(iter(parts.values())), ()
    if not training:
        raise DataError(
            f"{folder} has several parts and none is named train",
            seen=", ".join(name or parts[name][0].name for name in parts),
            next_step="give the folder or file of the part you mean",
        )
    others = [name or parts[name][0].name for name in parts if name != training[0]]
    return parts[training[0]], (f"only the part {training[0]} is read, not {some(others)}",)


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[Any]:
    pa = pyarrow_for(file)
    try:
        with pa.parquet.ParquetFile(file, pre_buffer=False) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{file} is not a Parquet file that can be read",
            seen=str(error).splitlines()[0],
            next_step="fetch it again",
        ) from error


def _picture_column(schema: Any, file: Path) -> str:
    kinds = {field.name: str(field.type) for field in schema}
    found = [name for name, kind in kinds.items() if "binary" in kind and (kind.startswith(("struct", "binary")))]
    named = [name for name in found if name.lower() in ("image", "img", "picture")]
    if len(named or found) == 1:
        return (named or found)[0]
    raise DataError(
        f"{file} has {'several columns' if found else 'no column'} of pictures",
        seen=", ".join(f"{name} ({kind})" for name, kind in kinds.items()),
        allowed="one column `image` of bytes, or of a struct with bytes and path",
    )


def _class_names(schema: Any) -> dict[str, tuple[str, ...]]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: tuple(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _values(files: list[Path], column: str, wanted: int) -> Iterator[tuple[int, Any, str]]:
    row = 0
    for file in files:
        with _opened(file) as parquet:
            first = row
            for batch in parquet.iter_batches(BATCH, columns=[column], use_threads=False):
                for value in batch.column(0).to_pylist():
                    if row == wanted:
                        return
                    yield row, value, f"{file}, row {row - first}"
                    row += 1
