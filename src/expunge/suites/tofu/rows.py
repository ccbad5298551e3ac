"""Rows of a benchmark's files, as they are published: JSON lines, a JSON list, Parquet, or a Hugging Face dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from expunge.data.text.rows import parquet_rows
from expunge.data.text.targets import classify_target
from expunge.data.text.text_files import decode_utf8, read_bytes
from expunge.errors import DataError, first_line

Row = tuple[str, Mapping[str, Any]]
"where a row stands, and its fields"
ENDINGS = (".jsonl", ".json", ".parquet")


@dataclass(frozen=True)
class Files:
    """The parts of a benchmark by name: the files of a folder, or the configurations of a Hugging Face dataset."""

    data: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts there are.

        Raises:
            DataError: no such folder, or a dataset that cannot be reached.
        """
        if self._hub:
            try:
                return tuple(map(str, _datasets(self.data).get_dataset_config_names(self.data)))
            except Exception as error:  # every loader and transport has exceptions of its own
                raise _unreachable(self.data, error) from error
        if not self._folder.is_dir():
            raise DataError(
                f"{self.data} is no folder",
                allowed="a folder with the benchmark's files, or the id of its Hugging Face dataset",
                next_step="download the dataset's files, and give the folder that holds them",
            )
        return tuple(sorted({path.stem for path in self._folder.iterdir() if path.suffix in ENDINGS}))

    def rows(self, name: str) -> list[Row]:
        """The rows of a part.

        Raises:
            DataError: there is no such part, or it cannot be read; file and line are named.
        """
        if name not in self.names:
            raise DataError(
                f"{self.data} has no {name}",
                seen=", ".join(self.names) or "no JSON lines, JSON or Parquet",
                allowed=" or ".join(f"{name}{ending}" for ending in ENDINGS),
                next_step="download that file of the dataset too, or name another part",
            )
        if self._hub:
            return self._hub_rows(name)
        path = next(self._folder / f"{name}{e}" for e in ENDINGS if (self._folder / f"{name}{e}").is_file())
        found: list[Row] = [*parquet_rows(path)[1]] if path.suffix == ".parquet" else _json_rows(path)
        if not found:
            raise DataError(f"{path} is empty", next_step="download it again")
        return found

    @cached_property
    def _hub(self) -> bool:
        return classify_target(self.data) == "dataset"

    @property
    def _folder(self) -> Path:
        return Path(self.data).expanduser()

    def _hub_rows(self, name: str) -> list[Row]:
        try:
            found = _datasets(self.data).load_dataset(self.data, name, split="train")
        except Exception as error:
            raise _unreachable(f"{self.data}:{name}", error) from error
        return [(f"{self.data}:{name}:{number}", row) for number, row in enumerate(found, 1)]


def _datasets(name: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"reading the dataset {name} needs the library datasets",
            next_step='install the extra: pip install "expunge[datasets]"; or give a folder with its files',
        ) from error
    return datasets


def _unreachable(name: str, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(
        f"the dataset {name} cannot be read",
        seen=f"{type(error).__name__}: {first_line(error)}",
        next_step="connect to the network, or download the dataset elsewhere and give the folder of its files",
    )


def _json_rows(path: Path) -> list[Row]:
    """A list of objects, or an object a line, whatever the ending says."""
    text = decode_utf8(read_bytes(path, "give it as JSON lines"), path)
    try:
        value = json.loads(text)
        values = list(enumerate(value if isinstance(value, list) else [value], 1))
    except ValueError:
        values = [(number, _parsed(line, f"{path}:{number}")) for number, line in enumerate(text.split("\n"), 1)
                  if line.strip()]  # fmt: skip
    for number, row in values:
        if not isinstance(row, Mapping):
            raise DataError(f"{path}:{number} is no object", seen=repr(row)[:80], next_step="repair or remove that row")
    return [(f"{path}:{number}", row) for number, row in values]


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON", seen=error, next_step="repair or remove that line") from error


def text_of(row: Row, field: str) -> str:
    """A field's text.

    Raises:
        DataError: the row has no such field, it is no text, or it is empty.
    """
    where, fields = row
    if field not in fields:
        raise DataError(
            f"{where} has no field `{field}`",
            seen=", ".join(map(str, fields)) or "no field",
            next_step="give the file as it is published, or put the field in",
        )
    if not isinstance(fields[field], str):
        raise DataError(f"{where}: `{field}` is no text", seen=repr(fields[field])[:80], next_step="repair that row")
    if not fields[field].strip():
        raise DataError(f"{where}: `{field}` is empty", next_step="fill it in, or remove that row")
    return str(fields[field])


def texts_of(row: Row, field: str) -> tuple[str, ...]:
    """A list of texts, none of them empty; none where the row has no such field. Raises as `text_of`."""
    where, fields = row
    value = fields.get(field)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(f"{where}: `{field}` is no list of texts", seen=repr(value)[:80], next_step="repair that row")
    return tuple(text_of((f"{where}: `{field}`", {str(i): each}), str(i)) for i, each in enumerate(value, 1))
