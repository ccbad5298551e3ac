"""Stages: results computed once, kept in the run folder under the hash of what they were made from."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.runs.folder import RunFolder

VERSION = 6
"part of every key: raise it when what a stage writes changes meaning"


def stage_path(folder: RunFolder, name: str, made_from: dict[str, Any]) -> Path:
    return folder.stages / f"{name}-{storage.digest_value([VERSION, made_from])[:16]}"


def stage(folder: RunFolder, name: str, made_from: dict[str, Any], make: Callable[[Path], None]) -> Path:
    """The folder of a stage's result; made now unless it is there already.

    Args:
        made_from: a JSON value of everything the result depends on.
        make: fills the folder it is given; the folder gets its name only when it is whole.
    """
    path = stage_path(folder, name, made_from)
    if (path / "stage.json").is_file():
        folder.log("stage", name=name, reused=True, seconds=storage.read_json(path / "stage.json")["seconds"])
        return path
    folder.log("stage_started", name=name)
    start = time.monotonic()
    with storage.folder_aside(path) as aside:
        make(aside)
        seconds = round(time.monotonic() - start, 2)
        storage.write_json(aside / "stage.json", {"name": name, "made_from": made_from, "seconds": seconds})
    folder.log("stage", name=name, reused=False, seconds=seconds)
    return path
