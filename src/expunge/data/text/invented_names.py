"""Names that no text holds."""

from __future__ import annotations

import numpy as np

BEGIN = [
    "b",
    "br",
    "c",
    "d",
    "dr",
    "f",
    "g",
    "gr",
    "h",
    "j",
    "k",
    "l",
    "m",
    "n",
    "p",
    "r",
    "s",
    "st",
    "t",
    "th",
    "v",
    "w",
]
MIDDLE = ["a", "e", "i", "o", "u", "ai", "ea", "ie"]
END = ["l", "m", "n", "r", "s", "t", "x", "nd", "rk", "th"]


def invented_name(generator: np.random.Generator, length: int = 5) -> str:
    """A pronounceable name of about this many letters, with a capital."""
    made = ""
    while len(made) < max(3, length - 2):
        made += str(generator.choice(BEGIN)) + str(generator.choice(MIDDLE))
    return (made + str(generator.choice(END))).capitalize()
