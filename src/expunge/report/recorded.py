"""Whether the files that a report speaks of are those that the run recorded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.core import storage
from expunge.runs.folder import RunFolder


def changed_since(folder: RunFolder, record: Mapping[str, Any] | None) -> list[str] | None:
    """Names of the files of scores and answers that are not as they were recorded; None where no digests were.

    The whole folder is checked by `expunge verify`.
    """
    digests = (record or {}).get("digests")
    files = digests.get("files") if isinstance(digests, Mapping) else None
    if not isinstance(files, Mapping):
        return None
    return [
        path.name
        for path in (folder.scores, folder.per_example, folder.answers, folder.toxicity)
        if files.get(path.name) != (storage.digest_file(path) if path.is_file() else None)
    ]
