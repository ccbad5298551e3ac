"""A row of the table of inputs: what a user has, what the user does with it, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.errors import ExpungeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One input, used as a user would.

    Attributes:
        what: the input in a few words; the id of its test.
        use: makes the input in an empty folder, uses it, and returns what came of it.
        expect: asserts on what came of it; for inputs that work.
        refused: the error that the input must end in; for inputs that are refused.
        says: what the error's message must hold, each a part of it.
    """

    what: str
    use: Callable[[Path], Any]
    expect: Callable[[Any], None] | None = None
    refused: type[ExpungeError] | None = None
    says: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.expect is None) == (self.refused is None):
            raise ValueError(f"{self.what}: either it works (`expect`) or it is refused (`refused`)")
        if self.refused is not None and not self.says:
            raise ValueError(f"{self.what}: say what the error must tell (`says`)")
