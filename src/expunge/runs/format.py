"""The format of a run folder's record, and conversion of older ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError

FORMAT = 2
"format of record.json; increment it when the meaning of a field changes, and convert older ones in `read_record`"


def read_record(path: Path) -> dict[str, Any] | None:
    """A run's record in this version's format; None if there is none. A damaged one is empty.

    `written_as` is its original format. Format 1 had no number. Its fields have today's meaning;
    intervals of few examples were up to 0.8 % narrower, so its report is not reproduced to the byte.

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
