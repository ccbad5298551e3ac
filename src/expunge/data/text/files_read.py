"""Which files of a target were read, and which were not, and why: part of the evidence of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.data.text.columns import Columns
from expunge.data.text.targets import classify_target, list_files

MOST = 2000
"files of a set that are named, of those read and of those not read; more are counted, and are in `digest` all the same"


def files_read(name: str, target: str, columns: Columns | None = None) -> dict[str, Any] | None:
    """What `read_documents` reads of a target, as `listed` has it; None if it is not a path or dataset."""
    kind = classify_target(target, may_be_topic=False)
    if kind == "dataset":
        return listed(name, target, None, [], [])
    if kind != "path":
        return None
    path = Path(target).expanduser()
    if not path.is_dir():
        return listed(name, target, path.parent, [path], [])
    files, skipped = list_files(path, columns)
    return listed(name, target, path, files, skipped)


def listed(
    name: str, target: str, folder: Path | None, read: Iterable[Path], unread: Iterable[tuple[Path, str]]
) -> dict[str, Any]:
    """One set's files, for `record.json`.

    Args:
        folder: that file names are relative to; None of a dataset of the hub, whose files are not known.

    Returns:
        `set`, `target`; `files_read`, `bytes_read` and `files_unread` (numbers; None if not known); `digest` (sha256 of
        all names and digests of what was read); `read` (`file`, `bytes`, `sha256`) and `unread` (`file`, `reason`), at most
        `MOST` of each.
    """
    shown = Path(target).name if Path(target).is_absolute() else target
    if folder is None:
        none = {"files_read": None, "bytes_read": None, "files_unread": None, "digest": None}
        return {"set": name, "target": shown, **none, "read": [], "unread": []}
    rows = [
        {"file": _name(path, folder), "bytes": path.stat().st_size, "sha256": storage.digest_file(path)}
        for path in read
    ]
    left = [{"file": _name(path, folder), "reason": reason} for path, reason in unread]
    whole = hashlib.sha256()
    for row in rows:
        whole.update(f"{row['sha256']}  {row['file']}\n".encode())
    return {
        "set": name,
        "target": shown,
        "files_read": len(rows),
        "bytes_read": sum(row["bytes"] for row in rows),
        "files_unread": len(left),
        "digest": whole.hexdigest(),
        "read": rows[:MOST],
        "unread": left[:MOST],
    }


def _name(path: Path, folder: Path) -> str:
    """A file's name below a folder, with bytes that are not text as escapes."""
    relative = path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name)
    return os.fsencode(relative.as_posix()).decode("utf-8", "backslashreplace")
