"""All requests as a table: id, state, deadline and run of each; nothing about who asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from expunge.requests.ledger import Ledger, Request

OPEN = ("open", "running", "failed")
"states of requests to be answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request, as the table shows it.

    Attributes:
        name: its id. due: YYYY-MM-DD.
        days: until it is due, below 0 if overdue; None if answered.
        run: its last run, by the name that `named` gives its folder; None if it gives none.
    """

    name: str
    state: str
    due: str
    days: int | None
    run: str | None


def table(ledger: Ledger, today: date, named: Callable[[str], str | None]) -> list[Row]:
    """Every request: those to be answered by their deadline, then the others, the newest first.

    Args:
        named: returns the displayed name of a run folder.
    """
    runs: Mapping[int, str] = {
        each.request: str(each.content.get("run", "")) for each in ledger.chain.events("kind = 'started'")
    }
    return [_row(each, today, runs, named) for each in in_order(ledger.requests())]


def in_order(requests: Iterable[Request]) -> list[Request]:
    """Those to be answered by their deadline, then the others, the newest first."""
    return sorted(
        requests,
        key=lambda each: (0, each.due.toordinal(), each.number) if each.state in OPEN else (1, 0, -each.number),
    )


def _row(request: Request, today: date, runs: Mapping[int, str], named: Callable[[str], str | None]) -> Row:
    days = (request.due - today).days if request.state in OPEN else None
    folder = runs.get(request.number)
    return Row(
        name=request.name,
        state=request.state,
        due=request.due.isoformat(),
        days=days,
        run=None if folder is None else named(folder),
    )
