"""Words that depend on a number."""

from __future__ import annotations

from expunge.core.words import counted


def test_one_has_no_plural() -> None:
    assert [counted(number, "trial") for number in (0, 1, 2, 3000)] == [
        "0 trials",
        "1 trial",
        "2 trials",
        "3,000 trials",
    ]
    assert [counted(number, "is", "are") for number in (1, 2)] == ["1 is", "2 are"]
