"""Text files that are lists: a name a line, or a fact a line. Which of them a file is, one rule says (docs/inputs.md)."""

from __future__ import annotations

import re
from typing import Literal

from expunge.data.text.words import unspaced

Lines = Literal["auto", "names", "facts", "text"]
"how the lines of a text file are read"

MOST_NAMES = 100
"lines up to which a file is taken for names: each is asked of the model, and more are a list of words"
NAME_WORDS, NAME_CHARACTERS, NAME_UNSPACED = 6, 60, 16
"words, and characters, of a name at most; characters where no spaces stand between words"
FACT_CHARACTERS = 400
"of a fact; a longer line is a paragraph"

_SMALL = re.compile(
    "an?|and|da|del?|den|der|des|di|dos?|du|el|en|et|for|i|in|l[ae]s?|los|o[fnr]|the|to|und|van|vi|von|with|y|zu"
)
"words that names have in lower case"
_BULLET = re.compile(r"(?:[-*+•‣–]\s+)(?=\S)")
_NO_NAME = re.compile(r"[!?;:=@#/\\<>{}\[\]|。！？、，；：]|[.,]$|\d{5,}")
"marks that names do not have, and numbers that are keys"
_SHORTENED = re.compile(r"\b(?:Jr|Sr|St|Dr|Inc|Co|Ltd|Bros|[A-Z])\.$")
_SENTENCE = re.compile(r"[.!?…。！？][\"\'”“’»）)\]]*$")
_ENTRY = re.compile(r"\S\s*[:=：]\s*\S|\d{3}|\w@\w")
"what makes a line that ends without a full stop one piece of information: `PIN: 4711`, a number, an address"


def entries(text: str) -> list[str]:
    """The lines of a list that hold something, without the mark before each (`- `, `* `)."""
    return [_BULLET.sub("", line.strip(), count=1) for line in text.splitlines() if line.strip()]


def kind_of_lines(text: str) -> Literal["names", "facts", "text"]:
    """What the lines of a text are.

    - Two or more lines without an empty one between them, or the file is `text`.
    - `names` where each is one: at most six words (sixteen characters in a script without spaces), each of which begins
      with a capital or a digit, but for words such as `of`; no mark of a sentence; and at most 100 lines.
    - `facts` where each is at most 400 characters, does not begin in lower case, and ends as a sentence does or holds an
      entry (`PIN: 4711`, a number of three digits, an address).
    - All else is `text`: one passage.
    """
    lines, whole = entries(text), text.strip().splitlines()
    if len(lines) < 2 or len(lines) < len(whole):
        return "text"
    if len(lines) <= MOST_NAMES and all(map(_is_name, lines)):
        return "names"
    return "facts" if all(map(_is_fact, lines)) else "text"


def is_a_fact(line: str) -> bool:
    """Whether a line alone is a piece of information, such as a sentence with a number, rather than a name."""
    return _is_fact(line) and not _is_name(line)


def _is_name(line: str) -> bool:
    if len(line) > NAME_CHARACTERS or (_NO_NAME.search(line) and not _SHORTENED.search(line)):
        return False
    if unspaced(line):
        return len(line) <= NAME_UNSPACED and any(map(str.isalpha, line))
    words = line.split()
    large = [word for word in words if _large(word)]
    small = all(_SMALL.fullmatch(word) or _large(word) for word in words)
    return len(words) <= NAME_WORDS and small and any(any(map(str.isalpha, word)) for word in large)


def _large(word: str) -> bool:
    """Whether a word begins as words of names do; letters that have no capitals (Arabic) count."""
    first = next((mark for mark in word if mark.isalnum()), "")
    return bool(first) and not first.islower()


def _is_fact(line: str) -> bool:
    first = next((mark for mark in line if mark.isalnum()), "a")
    said = _SENTENCE.search(line) or _ENTRY.search(line)
    return len(line) <= FACT_CHARACTERS and not first.islower() and said is not None
