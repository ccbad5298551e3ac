"""Check that the files of a request can be read: a run cannot forget what it did not read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expunge.data.text.columns import Columns
from expunge.data.text.file_kinds import refused_by_name
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.data.text.targets import list_files
from expunge.errors import DataError

NEXT_STEP = "save it in a form that is read (docs/inputs.md), and add the request again with that file"


def refuse_by_sight(path: Path) -> None:
    """Raise `DataError` for a file that is unreadable by its ending or size."""
    kind = refused_by_name(path.name)
    reason = "it is empty" if not path.stat().st_size else kind and kind.reason
    if reason:
        step = kind and kind.next_step
        raise DataError(f"{path} cannot be read", seen=reason, next_step=step or "leave it out of the request")


def refuse_unread(folder: Path, files: Sequence[tuple[str, Path]], columns: Columns) -> None:
    """Raise unless a run on a folder reads text in each of its files.

    Reading a folder skips unreadable files; here that is an error. Every file is read once in full.

    Args:
        folder: where the files of a run were laid out.
        files: (name there, its source); the name begins with the request's id, `-` and the file's number.

    Raises:
        DataError: the first file that would not be read: its request, number, path, and the reason.
    """
    for name, source in files:
        try:
            for _ in read_documents(folder / name, Notes(columns)):
                pass
        except DataError as error:
            reason = error.what.replace(str(folder / name), "it")
            raise _unread(name, source, f"{reason} ({error.seen})" if error.seen else reason) from error
    # Some files that can be read alone are skipped among others.
    passed_over = {path.name: reason for path, reason in list_files(folder, columns)[1]}
    for name, source in files:
        if name in passed_over:
            raise _unread(name, source, passed_over[name])


def _unread(name: str, source: Path, reason: str) -> DataError:
    request, _, rest = name.partition("-")
    return DataError(
        f"file {rest.partition('.')[0]} of {request} would not be read", seen=f"{source}: {reason}", next_step=NEXT_STEP
    )
