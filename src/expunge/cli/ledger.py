"""Shared by the commands on a ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from expunge.requests.ledger import Ledger

LEDGER = Path("ledger")
Place = Annotated[Path, Parameter(help="The ledger's folder.")]


@contextlib.contextmanager
def opened(path: Path, create: bool = False) -> Iterator[Ledger]:
    """Context with the ledger in a folder, closed at its end."""
    from expunge.requests.ledger import Ledger

    with contextlib.closing(Ledger.open_or_create(path) if create else Ledger.open(path)) as book:
        yield book


def number(name: str) -> int:
    """The number of a request's id."""
    from expunge.requests.states import number_of

    return number_of(name)
