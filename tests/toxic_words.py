"""A scorer for tests: how many of a text's letters are among some, and a count of how often it was asked."""

from __future__ import annotations

from collections.abc import Sequence

asked: list[int] = []


def score(texts: Sequence[str]) -> list[float]:
    asked.append(len(texts))
    return [sum(letter in "aeiouxyz" for letter in text.lower()) / max(1, len(text)) for text in texts]


def nothing(texts: Sequence[str]) -> list[float]:
    return [float("nan")] * len(texts)
