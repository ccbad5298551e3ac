"""One check of a verdict."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold: `value` must be at most (or at least) `threshold`."""

    name: str
    threshold: float
    value: float | None
    passed: bool | None
    "None: not made, for the reason in `explain`"
    explain: str
