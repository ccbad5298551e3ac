"""What of a person is still stored after a request was answered: names, paths, and the text that was forgotten."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from expunge.requests.ledger import Ledger
from expunge.requests.showing import texts_left
from expunge.requests.states import STATE_AFTER, name_of

ANSWERED = ("passed", "refused", "closed")


@dataclass(frozen=True, slots=True)
class Stored:
    """An answered request of which something is still stored.

    Attributes:
        name: its id.
        since: the day on which it was answered: when it passed, was refused, or was closed without either.
        places: files and folders: who asked and where the files lie, the files laid out for runs, text in run folders.
    """

    name: str
    state: str
    since: date
    places: tuple[Path, ...]

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "id": self.name,
            "state": self.state,
            "since": self.since.isoformat(),
            "places": [str(place) for place in self.places],
        }


def stored_since(ledger: Ledger, before: date) -> list[Stored]:
    """Requests answered on a day or earlier of which something is still stored, in order."""
    states: dict[int, str] = {}
    since: dict[int, str] = {}
    rows = ledger.chain.query("SELECT request, kind, at FROM events WHERE request > 0 ORDER BY seq")
    for request, kind, at in rows:
        if kind not in STATE_AFTER:
            continue
        if not (kind == "closed" and states[request] in ANSWERED):  # answered before it was closed
            since[request] = at
        states[request] = STATE_AFTER[kind]
    laid_out: dict[int, list[Path]] = {}
    for request, file in ledger.private.left_over():
        laid_out.setdefault(request, []).append(file)
    noted = ledger.private.numbers()
    found = []
    for request, state in sorted(states.items()):
        answered = date.fromisoformat(since[request][:10])
        if state not in ANSWERED or answered > before:
            continue
        notes = [ledger.private.path / f"{name_of(request)}.json"] if request in noted else []
        places = [*notes, *laid_out.get(request, ()), *texts_left(ledger, request)]
        if places:
            found.append(Stored(name_of(request), state, answered, tuple(places)))
    return found
