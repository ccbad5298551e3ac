"""A run at work: its recipe, its folder, its progress display, and cached results."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from expunge.core import storage
from expunge.core.processes import agreed, is_first
from expunge.core.progress import Silent
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import BaseRecipe

VERSION = 6
"part of every key: increment it when the meaning of a cached result changes"

R = TypeVar("R", bound=BaseRecipe)


@dataclass(slots=True)
class Run(Generic[R]):
    """What every part of a run needs."""

    recipe: R
    folder: RunFolder
    show: Silent = field(default_factory=Silent)

    def notice(self, text: str) -> None:
        """Add a note for readers of the scores; the report lists it."""
        self.folder.log("notice", text=text)

    def notices(self) -> list[str]:
        """Everything noted so far, each once, in order."""
        return list(dict.fromkeys(row["text"] for row in self.folder.read_events("notice")))

    def cache_path(self, name: str, key: dict[str, Any]) -> Path:
        """The folder of the result of this name and key."""
        return self.folder.stages / f"{name}-{storage.digest_value([VERSION, key])[:16]}"

    def cached(self, name: str, key: dict[str, Any], make: Callable[[Path], None], doing: str | None = None) -> Path:
        """The folder of a result: computed now, unless it exists.

        Args:
            key: a JSON value of everything the result depends on.
            make: fills the folder it is given; the folder gets its name only when it is whole.
            doing: shown while it is computed.
        """
        path, folder = self.cache_path(name, key), self.folder
        if (path / "stage.json").is_file():
            folder.log("stage", name=name, reused=True, seconds=storage.read_json(path / "stage.json")["seconds"])
            return path
        folder.log("stage_started", name=name)
        start = time.monotonic()
        with storage.folder_aside(path) as aside:
            if doing is not None:
                self.show.stage(doing)
            make(aside)
            seconds = round(time.monotonic() - start, 2)
            storage.write_json(aside / "stage.json", {"name": name, "made_from": key, "seconds": seconds})
        folder.log("stage", name=name, reused=False, seconds=seconds)
        return path

    def made_together(
        self, name: str, key: dict[str, Any], make: Callable[[Path], None], doing: str | None = None
    ) -> Path:
        """`cached`, of what all processes make: each calls this, and has the result once all are done.

        Args:
            make: called on all of them, unless the result is there; the first one alone writes.
        """
        path = self.cache_path(name, key)
        if agreed((path / "stage.json").is_file()) or is_first():
            self.cached(name, key, make, doing)
        else:
            make(path)
        agreed(None)  # now the others may read what the first one wrote
        return path

    def cached_json(
        self, name: str, key: dict[str, Any], make: Callable[[], Any], file: str, doing: str | None = None
    ) -> Any:
        """A JSON value, computed once and cached as `file` in the folder of its result."""
        path = self.cached(name, key, lambda path: storage.write_json(path / file, make()), doing)
        return storage.read_json(path / file)
