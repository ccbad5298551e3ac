"""A score with nothing to it but its value."""

from __future__ import annotations

from expunge.core.score import Score, Which


def plain_score(measure: str, split: str, model: Which, value: float, n: int = 10) -> Score:
    return Score(
        measure=measure, split=split, model=model, value=value, low=value, high=value, n=n, higher_is="better", unit=""
    )
