"""Rows of a benchmark's files, as they are published: JSON lines, a JSON list, Parquet, or a Hugging Face dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

from expunge.data.text.rows import parquet_rows
from expunge.data.text.targets import classify_target
from expunge.data.text.text_files import decode_utf8, read_bytes
from expunge.errors import DataError, first_line
from expunge.kinds.language.measures.question_answers import Asked, passage

Row = tuple[str, Mapping[str, Any]]
"the place of a row, and its fields"
ENDINGS = (".jsonl", ".json", ".parquet")


SHARD = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})")
"how the hub calls the pieces of a part"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Files:
    """The parts of a benchmark by name: the files of a folder, or the configurations of a Hugging Face dataset.

    A part is called `NAME`, or `CONFIGURATION/SPLIT`: in a folder the file of that name, in one piece or in the pieces
    in which the hub keeps it. The folder may be that of a dataset in the hub's cache: its snapshot of `main` is read.
    """

    data: str

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The parts there are; of a dataset on the hub its configurations.

        Raises:
            DataError: no such folder, or a dataset that cannot be reached.
        """
        if self._hub:
            try:
                return tuple(map(str, _datasets(self.data).get_dataset_config_names(self.data)))
            except Exception as error:  # every loader and transport has exceptions of its own
                raise _unreachable(self.data, error) from error
        return tuple(sorted(self._paths))

    def first(self, *names: str) -> str | None:
        """The first of these parts that is there."""
        return next((name for name in names if self._has(name)), None)

    def rows(self, *names: str, most: int | None = None, texts: bool = False) -> list[Row]:
        """The rows of a part: of the first of these that is there.

        Args:
            most: at most this many, the first ones.
            texts: whether a row may be a text alone; it is given as the field `text` then.

        Raises:
            DataError: there is no such part, or it cannot be read; file and line are named.
        """
        name = self.first(*names)
        if name is None:
            raise DataError(
                f"{self.data} has no {names[0]}",
                seen=", ".join(self.names) or "no JSON lines, JSON or Parquet",
                allowed=f"{' or '.join(dict.fromkeys(names))}, as {' or '.join(ENDINGS)}",
                next_step="download that file of the dataset too, or name another part",
            )
        if self._hub:
            return list(islice(self._hub_rows(name), most))
        paths = self._paths[name]
        self._refuse_missing_pieces(name, paths)
        pieces: Iterable[Iterable[Row]] = (
            parquet_rows(path)[1] if path.suffix == ".parquet" else _json_rows(path, texts) for path in paths
        )
        found = list(islice(chain.from_iterable(pieces), most))
        if not found:
            raise DataError(f"{paths[0]} is empty", next_step="download it again")
        return found

    @cached_property
    def _hub(self) -> bool:
        return classify_target(self.data, may_be_topic=False) == "dataset"

    @cached_property
    def _folder(self) -> Path:
        folder = Path(self.data).expanduser()
        ref = folder / "refs" / "main"
        if (folder / "snapshots").is_dir() and ref.is_file():
            commit = decode_utf8(read_bytes(ref, "download the dataset again"), ref).strip()
            if COMMIT.fullmatch(commit):
                return folder / "snapshots" / commit
        return folder

    @cached_property
    def _paths(self) -> dict[str, list[Path]]:
        """Part -> its files. Pieces come before a whole file of that name: they are what the hub's card names."""
        if not self._folder.is_dir():
            raise DataError(
                f"{self.data} is not a folder",
                allowed="a folder with the benchmark's files, or the id of its Hugging Face dataset",
                next_step="download the dataset's files, and give the folder that holds them",
            )
        every = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        every += [file for path in every if path.is_dir() for file in path.iterdir()]
        found: dict[str, list[Path]] = {}
        pieces: dict[str, list[Path]] = {}
        for path in sorted(
            (path for path in every if path.suffix in ENDINGS),
            key=lambda path: (str(path.with_suffix("")), ENDINGS.index(path.suffix)),
        ):
            name = path.with_suffix("").relative_to(self._folder).as_posix()
            if piece := SHARD.fullmatch(name):
                pieces.setdefault(piece["name"], []).append(path)
            else:
                found.setdefault(name, [path])
        return found | pieces

    def _has(self, name: str) -> bool:
        if not self._hub:
            return name in self._paths
        configuration, _, split = name.partition("/")
        if configuration not in self.names or not split:
            return configuration in self.names
        try:
            return split in _datasets(self.data).get_dataset_split_names(self.data, configuration)
        except Exception as error:
            raise _unreachable(f"{self.data}:{configuration}", error) from error

    def _refuse_missing_pieces(self, name: str, paths: Sequence[Path]) -> None:
        piece = SHARD.fullmatch(paths[0].stem)
        if piece is not None and len(paths) != int(piece["count"]):
            raise DataError(
                f"{self.data}: {name} is not whole",
                seen=f"{len(paths)} of {int(piece['count'])} files",
                next_step="download the others too, and no files of two versions into one folder",
            )

    def _hub_rows(self, name: str) -> list[Row]:
        configuration, _, split = name.partition("/")
        try:
            found = _datasets(self.data).load_dataset(self.data, configuration, split=split or "train")
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


def _json_rows(path: Path, texts: bool = False) -> list[Row]:
    """A list of objects, or an object a line, whatever the ending says. `texts`: whether a text may stand for an
    object."""
    text = decode_utf8(read_bytes(path, "give it as JSON lines"), path)
    try:
        value = json.loads(text)
        values = list(enumerate(value if isinstance(value, list) else [value], 1))
    except ValueError:
        values = [(number, _parsed(line, f"{path}:{number}")) for number, line in enumerate(text.split("\n"), 1)
                  if line.strip()]  # fmt: skip
    if texts:
        values = [(number, {"text": row} if isinstance(row, str) else row) for number, row in values]
    for number, row in values:
        if not isinstance(row, Mapping):
            raise DataError(
                f"{path}:{number} is not an object", seen=repr(row)[:80], next_step="repair or remove that row"
            )
    return [(f"{path}:{number}", row) for number, row in values]


def _parsed(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON", seen=error, next_step="repair or remove that line") from error


def text_of(row: Row, field: str) -> str:
    """A field's text.

    Raises:
        DataError: the row has no such field, it is not text, or it is empty.
    """
    where, fields = row
    if field not in fields:
        raise DataError(
            f"{where} has no field `{field}`",
            seen=", ".join(map(str, fields)) or "no field",
            next_step="give the file as it is published, or put the field in",
        )
    if not isinstance(fields[field], str):
        raise DataError(f"{where}: `{field}` is not text", seen=repr(fields[field])[:80], next_step="repair that row")
    if not fields[field].strip():
        raise DataError(f"{where}: `{field}` is empty", next_step="fill it in, or remove that row")
    return str(fields[field])


def choices_of(row: Row) -> tuple[tuple[str, ...], int]:
    """The `choices` of a multiple-choice question, and the number of the right one, from 0. Raises as `text_of`."""
    where, fields = row
    choices = texts_of(row, "choices")
    answer = fields.get("answer")
    if len(choices) < 2:
        raise DataError(
            f"{where} has no two `choices`",
            seen=", ".join(map(str, fields)) or "no field",
            next_step="give the file as it is published, or remove that row",
        )
    if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(choices):
        raise DataError(
            f"{where}: `answer` names no choice",
            seen=repr(answer)[:80],
            allowed=f"0 to {len(choices) - 1}",
            next_step="give the file as it is published, or repair that row",
        )
    return choices, answer


def passages_of(rows: Sequence[Row], field: str = "text") -> tuple[Asked, ...]:
    """Texts, without the rows whose text is empty. Raises as `text_of`, and where nothing is left."""
    found = tuple(passage(text_of(row, field), row[0]) for row in rows if row[1].get(field) != "")
    if not found:
        raise DataError(f"{rows[0][0].rpartition(':')[0]} holds empty texts alone", next_step="download it again")
    return found


def texts_of(row: Row, field: str) -> tuple[str, ...]:
    """A list of texts, none of them empty; none if the row has no such field. Raises as `text_of`."""
    where, fields = row
    value = fields.get(field)
    if value is None:
        return ()
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise DataError(
            f"{where}: `{field}` is not a list of texts", seen=repr(value)[:80], next_step="repair that row"
        )
    return tuple(text_of((f"{where}: `{field}`", {str(i): each}), str(i)) for i, each in enumerate(value, 1))
