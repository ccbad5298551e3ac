"""Reading a target, whatever it is, as a stream of documents."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from expunge.data.document import Document, digest_documents
from expunge.data.rows import read_dataset, read_json_lines, read_parquet
from expunge.data.targets import classify_target, list_files, looks_like_path
from expunge.data.text_files import read_text_file
from expunge.errors import DataError

__all__ = ["Document", "classify_target", "digest_documents", "looks_like_path", "read_documents"]

_READERS = {".jsonl": read_json_lines, ".ndjson": read_json_lines, ".json": read_json_lines, ".parquet": read_parquet}
"how a file is read, by its ending; any other is plain text"


def read_documents(target: str | os.PathLike[str]) -> Iterator[Document]:
    """The documents of a target, one after another; memory does not grow with its length.

    A target is a text file, JSON lines (`.jsonl`, `.ndjson`, `.json`) or Parquet with `text` or `question` and
    `answer`, a folder of such files (sorted; what is left out is logged with the reason), or a Hugging Face data set.

    Raises:
        DataError: whatever cannot be read, with the file, the line and the next step.
    """
    target = os.fspath(target)
    kind = classify_target(target)
    if kind == "topic":
        raise DataError(
            f"there is nothing to read at {target!r}",
            allowed="a file, a folder, or a Hugging Face data set id (owner/name)",
            next_step="check the path; only the target to forget may be a topic in words",
        )
    found = False
    for document in read_dataset(target) if kind == "dataset" else _read_path(Path(target).expanduser()):
        found = True
        yield document
    if not found:
        raise DataError(
            f"{target} is empty", seen="no text but white space", next_step="name a file or folder with text in it"
        )


def _read_path(path: Path) -> Iterator[Document]:
    if not path.is_dir():
        yield from _read_file(path)
        return
    files, skipped = list_files(path)
    for entry in skipped:
        _log_once(
            logging.INFO if entry.reason == "hidden" else logging.WARNING, f"not read: {entry.path}: {entry.reason}"
        )
    for file in files:
        yield from _read_file(file)


def _read_file(path: Path) -> Iterator[Document]:
    return _READERS.get(path.suffix.lower(), read_text_file)(path)


@functools.lru_cache(maxsize=4096)
def _log_once(level: int, message: str) -> None:
    # A target is read several times in a run; what was left out is worth saying once.
    logging.getLogger(__name__).log(level, message)
