"""Values that a method computes once: with a folder, a resumed run reads them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from expunge.core import storage
from expunge.errors import StorageError
from expunge.train.checkpoint import read_tensors, write_tensors


def file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def write_cached(folder: Path, name: str, values: Mapping[str, Tensor], cost: Any) -> None:
    """Write what `name` stands for, and what it cost to compute, as JSON."""
    with storage.folder_aside(folder / f"cached-{file_name(name)}") as aside:
        files = write_tensors(aside, values)
        storage.write_json(aside / "cached.json", {"files": files, "cost": cost})


def read_cached(folder: Path, name: str) -> tuple[dict[str, Tensor], Any] | None:
    """(values, cost) as they were written; None where nothing was.

    Raises:
        StorageError: they were damaged since. They cannot be computed again: the model may have changed meanwhile.
    """
    path = folder / f"cached-{file_name(name)}"
    if not path.is_dir():
        return None
    listed = storage.read_json(path / "cached.json")
    values = read_tensors(path, listed["files"])
    if values is None:
        raise StorageError(f"{path} is damaged", next_step=f"delete {folder} and run the same command again")
    return values, listed["cost"]
