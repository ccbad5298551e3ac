"""Words of a sentence that depend on a number."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 trial`, `2 trials`, `3,000 trials`; `many` where the plural is more than an s behind it."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
