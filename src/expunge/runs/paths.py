"""Make a recipe's paths absolute when a run begins, so that later commands work in any folder."""

from __future__ import annotations

import os
from pathlib import Path


def absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def absolute_if_given(path: str | None) -> str | None:
    return None if path is None else absolute(path)


def absolute_if_there(name: str | None) -> str | None:
    """A path if it exists; else it may be the name of a starter model, or an id on a hub."""
    return name if name is None or not Path(os.path.expanduser(name)).exists() else absolute(name)
