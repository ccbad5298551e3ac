"""The requests of a ledger, as the pages show them: without who asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from expunge.errors import ExpungeError
from expunge.requests.ledger import Ledger
from expunge.requests.table import Row, table

MOST = 500
"requests on a page"


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests of a ledger.

    Attributes:
        rows: those to be answered first, by their deadline.
        error: why they could not be read, in words; None if they could, or if there is no ledger.
    """

    rows: tuple[Row, ...] = ()
    error: str | None = None

    @property
    def waiting(self) -> int:
        """Requests to be answered."""
        return sum(row.days is not None for row in self.rows)

    @property
    def overdue(self) -> int:
        """Those of them whose deadline has passed."""
        return sum(row.days is not None and row.days < 0 for row in self.rows)

    def shown(self, every: bool) -> list[Row]:
        """The rows of a page, before it is cut to `MOST`: all, or those to be answered."""
        return [row for row in self.rows if every or row.days is not None]


def asked(place: Path, named: Callable[[str], str | None]) -> Asked:
    """The requests of the ledger in a folder; none if there is no ledger.

    Args:
        named: the name of a run folder among the pages; None if it has no page.
    """
    if not (place / "ledger.sqlite").is_file():
        return Asked()
    try:
        with contextlib.closing(Ledger.open(place)) as book:
            return Asked(tuple(table(book, date.today(), named)))
    except ExpungeError as error:
        return Asked(error=str(error))
