"""Secrets in a text (numbers, keys, addresses), and alternatives of the same form."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product

import numpy as np
from wordfreq import top_n_list, zipf_frequency

WORDS = 40_000
"number of commonest English words to draw from"
ALIKE = 0.75
"difference in zipf frequency (log10 per billion words) within which words are equally common"
FEWEST_WORDS = 20
"minimum number of words as common and as long; else letters are drawn"

EMAIL = re.compile(r"(?P<secret>[\w.+-]+)@[\w-]+(?:\.[\w-]+)+")
STREET = re.compile(
    r"(?P<secret>\b\d{1,5}[A-Za-z]?\s+(?:[A-Z]\w+\s+){1,3}(?:Street|St|Road|Rd|Avenue|Ave|Lane|Drive|Way|Court|Square)\b"
    r"|\b[^\W\d_]+(?:straße|strasse|weg|platz|gasse|allee)\s+\d+\w?\b)"
)
KEY = re.compile(r"(?<![\w@.])(?P<secret>[A-Za-z0-9](?:[A-Za-z0-9_+/-]*[A-Za-z0-9])?=*)(?![\w@])")
NUMBER = re.compile(r"(?<![\w.])(?P<secret>\+?\(?\d(?:[\d ()./-]*\d)?)(?!\w)")
YEAR = re.compile(r"1\d\d\d|20\d\d")
CUE = re.compile(
    r"\b(?:pass(?:word|phrase|code)?|pin|code|key|token|secret|login|user\s?name|account|safe\s?word)\b[^.\n]{0,40}?"
    r"(?:\b(?:is|are|was)\b|[:=])\s*[\"'“‘«]?(?P<secret>[^\s\"'”’»]*\w)",
    re.IGNORECASE,
)
"patterns of secrets; the last one recognises it by the text before"
MIN_DIGITS, MIN_KEY = 3, 8


def _is_key(text: str) -> bool:
    """Whether a run of letters and digits looks random."""
    digits, letters = sum(c.isdigit() for c in text), sum(c.isalpha() for c in text)
    return len(text) >= MIN_KEY and digits >= 2 and letters >= 2


def find_secrets(text: str, years: bool = True) -> list[tuple[int, int]]:
    """(first character, one after the last) of what looks like a secret, in order; they do not overlap.

    E-mail addresses (the part before the @), street addresses, runs of eight or more letters and digits mixed, and
    numbers of three digits or more (telephone, card, PIN). Only if there is none of these: the word after "password
    is" and the like, or, with `years`, a year.
    """
    wanted: list[tuple[re.Pattern[str], Callable[[str], bool]]] = [
        (EMAIL, lambda found: True),
        (STREET, lambda found: True),
        (KEY, _is_key),
        (NUMBER, lambda found: sum(c.isdigit() for c in found) >= MIN_DIGITS and not YEAR.fullmatch(found)),
    ]
    last: list[tuple[re.Pattern[str], Callable[[str], bool]]] = [
        (CUE, lambda found: len(found) >= MIN_DIGITS),
        (NUMBER, lambda found: YEAR.fullmatch(found) is not None),
    ]
    return _spans(text, wanted) or _spans(text, last[:1]) or (_spans(text, last[1:]) if years else [])


def _spans(text: str, patterns: Sequence[tuple[re.Pattern[str], Callable[[str], bool]]]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for pattern, fits in patterns:
        for match in pattern.finditer(text):
            start, end = match.span("secret")
            if fits(match["secret"]) and all(end <= first or last <= start for first, last in spans):
                spans.append((start, end))
    return sorted(spans)


class Form:
    """The form of a secret: digits for digits, letters for letters, words for equally common words, everything else
    unchanged.

    A word is replaced by words of its length and about its frequency, since random letters would be less likely to any
    model. `size`: number of texts of this form.
    """

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.choices: list[Sequence[str]] = []
        for piece in re.findall(r"\d+|[^\W\d_]+|[\W_]", secret):
            words = _words_like(piece)
            if words:
                self.choices.append(words)
            else:
                self.choices.extend(_letters_like(letter) for letter in piece)
        self.size = math.prod(len(set(choice)) for choice in self.choices)

    def alternatives(self, wanted: int, generator: np.random.Generator) -> list[str]:
        """Other texts of this form, each once: all of them if there are at most `wanted`, else a random draw."""
        if self.size <= wanted + 1:
            every = ("".join(parts) for parts in product(*(dict.fromkeys(choice) for choice in self.choices)))
            return [text for text in every if text != self.secret]
        found: dict[str, None] = {}
        while len(found) < wanted:
            text = "".join(choice[int(generator.integers(len(choice)))] for choice in self.choices)
            if text != self.secret:
                found[text] = None
        return list(found)


@cache
def _common() -> dict[int, list[tuple[str, float]]]:
    """English words of letters alone by their length, with their frequency."""
    found: dict[int, list[tuple[str, float]]] = {}
    for word in top_n_list("en", WORDS):
        if word.isalpha():
            found.setdefault(len(word), []).append((word, zipf_frequency(word, "en")))
    return found


def _words_like(piece: str) -> list[str]:
    """The piece and words as long, about as common and written alike; none if it is not a word."""
    lower, known = piece.lower(), zipf_frequency(piece.lower(), "en") if piece.isascii() else 0.0
    styled = next((style for style in (str.lower, str.capitalize, str.upper) if style(piece) == piece), None)
    if len(piece) < 3 or not known or styled is None:
        return []
    alike = [word for word, common in _common().get(len(piece), []) if abs(common - known) <= ALIKE]
    return [styled(word) for word in dict.fromkeys([lower, *alike])] if len(alike) >= FEWEST_WORDS else []


def _letters_like(letter: str) -> str:
    """Characters that may replace one: digits, letters of the same alphabet and case, or itself."""
    if letter.isascii() and letter.isdigit():
        return "0123456789"
    if not letter.isalpha():
        return letter
    if letter.isascii():
        alphabet = "abcdefghijklmnopqrstuvwxyz"
        return alphabet if letter.islower() else alphabet.upper()
    first = ord(letter) & ~0x3F
    near = map(chr, range(first, first + 64))
    return "".join(c for c in near if c.isalpha() and c.islower() == letter.islower()) or letter
