"""The format of a run folder's record, and older ones brought up to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError

FORMAT = 2
"of record.json; raise it when what a field means changes, and say in `read_record` how the older one is read"


def read_record(path: Path) -> dict[str, Any] | None:
    """A run's record as this version reads it; None if there is none. A damaged one is empty.

    `written_as` is the format that it was written in. Format 1 had no number. Its fields mean what they mean today;
    intervals of few examples were up to 0.8 % narrower, so its report is not made again to the byte.

    Raises:
        RunError: a newer version of expunge wrote it.
        StorageError: it cannot be read.
    """
    if not path.is_file():
        return None
    record = storage.read_json(path)
    if not isinstance(record, dict):
        return {}
    written_as = int(record.get("format", 1))
    if written_as > FORMAT:
        raise RunError(
            f"{path} was written by a newer version of expunge",
            seen=f"format {written_as}",
            allowed=f"format {FORMAT} or less",
            next_step="install the version that its field `versions` names",
        )
    return record | {"format": FORMAT, "written_as": written_as}
