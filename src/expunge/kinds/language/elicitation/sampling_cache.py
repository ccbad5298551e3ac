"""Cache of sampled texts, written per group of prompts: an interrupted sampling resumes after the last group."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage


class SoFar:
    """Groups of texts in one small file.

    Args:
        path: the file; it is written with the first group.
        of: a JSON value of everything that the texts depend on in addition to the prompts, such as the model's digest.
    """

    def __init__(self, path: Path, of: Any) -> None:
        self.path, self.of = path, of
        self.groups: dict[str, list[str]] = {}
        with contextlib.suppress(storage.StorageError):  # missing or damaged: all is sampled again
            found = storage.read_json(path)
            self.groups = found if isinstance(found, dict) else {}

    def texts(self, prompts: Sequence[Any], how: Any, make: Callable[[], list[str]]) -> list[str]:
        """The texts of a group, one a prompt, cached or sampled now; `how` are their other settings."""
        key = storage.digest_value([self.of, list(prompts), how])
        if len(self.groups.get(key, ())) != len(prompts):
            self.groups[key] = make()
            storage.write_json(self.path, self.groups)
        return self.groups[key]

    def remove(self) -> None:
        """Delete the cache, once the texts are saved elsewhere."""
        self.path.unlink(missing_ok=True)
