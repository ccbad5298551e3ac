"""Values that a method computes once, in the format of checkpoints: a resumed run reads them again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from expunge.errors import StorageError
from expunge.train.checkpoint import checkpoints, load_latest, save_checkpoint


def file_name(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)


def write_cached(folder: Path, name: str, values: Mapping[str, Tensor], cost: Any) -> None:
    """Write the values of `name` and the cost of computing them, as JSON."""
    save_checkpoint(_path(folder, name), 0, values, {"cost": cost})


def cached_there(folder: Path, name: str) -> bool:
    """Whether it was written."""
    return bool(checkpoints(_path(folder, name)))


def read_cached(folder: Path, name: str) -> tuple[dict[str, Tensor], Any]:
    """(values, cost) as written.

    Raises:
        StorageError: they are damaged. They cannot be computed again: the model may have changed meanwhile.
    """
    saved = load_latest(_path(folder, name))
    if saved is None:
        raise StorageError(
            f"{_path(folder, name)} is damaged", next_step=f"delete {folder} and run the same command again"
        )
    return dict(saved.tensors), saved.state["cost"]


def _path(folder: Path, name: str) -> Path:
    return folder / f"cached-{file_name(name)}"
