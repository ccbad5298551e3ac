"""Words of questions and answers: the part of an answer that its question does not contain."""

from __future__ import annotations

import re
from itertools import pairwise

BLANK = "____"


def words(text: str) -> set[str]:
    """The words of a text, without case."""
    return {word.casefold() for word in re.findall(r"[^\W_]+", text)}


def new_part(answer: str, question: str) -> tuple[int, int]:
    """(begin, end) in characters of the longest run of words in an answer that its question does not contain."""
    asked, runs, open_ = words(question), [(0, 0)], False
    for found in re.finditer(r"[^\W_]+", answer):
        if found[0].casefold() in asked:
            open_ = False
        elif open_:
            runs[-1] = (runs[-1][0], found.end())
        else:
            runs.append(found.span())
            open_ = True
    return max(runs, key=lambda run: run[1] - run[0])


def named(question: str) -> tuple[int, int] | None:
    """(begin, end) in characters of the name in a question: the longest run of words that begin with a capital or a
    digit, without the first word; None if there is none."""
    found = list(re.finditer(r"\w+", question))
    runs: list[tuple[int, int]] = []
    for before, word in pairwise(found):
        if not (word[0][0].isupper() or word[0][0].isdigit()):
            continue
        if runs and runs[-1][1] == before.end():
            runs[-1] = (runs[-1][0], word.end())
        else:
            runs.append(word.span())
    return max(runs, key=lambda run: run[1] - run[0], default=None)


def without(text: str, gone: str) -> str:
    """A text with every word of another one replaced by a blank."""
    known = words(gone)
    blanks = re.sub(r"[^\W_]+", lambda found: BLANK if found[0].casefold() in known else found[0], text)
    return re.sub(rf"{BLANK}(?:\s+{BLANK})+", BLANK, blanks)
