"""What a reader of the scores must know of how a set was read: sentences with counts and file names.

Readers are handed it, so it also says by which columns rows are read.
"""

from __future__ import annotations

from pathlib import Path

from expunge.data.text.columns import Columns

SHOWN = 3
"files that a note names"


class Notes:
    """Collects what readers have to say. Files and counts of the same words become one note.

    Args:
        columns: by which the rows of this set are read.
    """

    def __init__(self, columns: Columns | None = None) -> None:
        self.columns = columns or Columns()
        self._files: dict[str, list[str]] = {}
        self._counts: dict[str, int] = {}
        self._said: list[str] = []

    def say(self, what: str) -> None:
        """Say something once."""
        if what not in self._said:
            self._said.append(what)

    def file(self, what: str, path: Path) -> None:
        """Say `what` of a file; of many files it is said once."""
        names = self._files.setdefault(what, [])
        if path.name not in names:
            names.append(path.name)

    def count(self, what: str, more: int = 1) -> None:
        """Add to a count."""
        self._counts[what] = self._counts.get(what, 0) + more

    def lines(self) -> tuple[str, ...]:
        """The notes, in the order in which they came up."""
        found = []
        for what, names in self._files.items():
            more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            found.append(f"{', '.join(names[:SHOWN])}{more}: {what}")
        return (*found, *self._said, *(f"{what}: {count:,}" for what, count in self._counts.items()))
