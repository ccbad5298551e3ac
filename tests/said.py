"""What a typed command said, and the type of what types one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Said(NamedTuple):
    code: int
    out: str
    err: str


Type = Callable[..., Said]
