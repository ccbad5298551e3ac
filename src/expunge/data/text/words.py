"""What a word is, in any script: words between spaces, and single characters where a script has no spaces.

Python's `\\w` leaves out the marks that write vowels in Hindi, Thai or Khmer, and takes a whole Chinese sentence for one
word. Everything that counts, compares or looks for words does so by what stands here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container

_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e50-\u0e59"  # Thai
    "\u0e81-\u0edf"  # Lao
    "\u1000-\u1049\u1050-\u109f\uaa60-\uaa7f"  # Burmese
    "\u1780-\u17d3\u17d7\u17dc\u17dd\u17e0-\u17e9"  # Khmer
    "\u1950-\u19df\u1a20-\u1aad"  # Tai
    "\u3005-\u3007\u3041-\u3096\u3099-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
)
"characters of scripts that put no space between words, as they stand in a character class"


def _marks() -> str:
    """Combining marks (Unicode Mn and Mc), as they stand in a character class."""
    found: list[str] = []
    start: int | None = None
    for code in (*range(0x300, 0x2100), *range(0xA800, 0xAC00)):
        if unicodedata.category(chr(code)) in ("Mn", "Mc"):
            start = code if start is None else start
        elif start is not None:
            found.append(f"{chr(start)}-{chr(code - 1)}")
            start = None
    return "".join(found)


_MARKS = _marks()
MARK = f"[{_MARKS}]"
"a combining mark, such as a vowel sign of Hindi"
WORD = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\W_{_UNSPACED}]+(?:[{_MARKS}]+[^\W_{_UNSPACED}]*)*")
"a word of letters and digits with its marks; of a script without spaces, one character with its marks"
_LETTERS = rf"[^\W{_UNSPACED}]+(?:[{_MARKS}]+[^\W{_UNSPACED}]*)*"
SPOKEN = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|{_LETTERS}(?:['’]{_LETTERS})*")
"the same with what follows an apostrophe: `don't` is one word"
_UNIT = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\s{_UNSPACED}]+")
STRETCH = re.compile(rf"[{_UNSPACED}][{_UNSPACED}・]*")
"characters of scripts without spaces in a row, with the dots that part words in katakana"
_ONE = re.compile(rf"[{_UNSPACED}]")
BEFORE, AFTER = rf"(?<![\w{_MARKS}])", rf"(?![\w{_MARKS}])"
"that no word continues to the left, or to the right"


PREFIXES = {
    "ar": ("وال", "بال", "فال", "كال", "لل", "ال", "و", "ف", "ب", "ل", "ك", "س"),
    "he": ("וה", "שה", "מה", "בה", "לה", "ו", "ה", "ב", "ל", "מ", "ש", "כ"),
}
"what is written together with the word after it"
_PARTICLES = (
    "에게서|으로는|에서는|이라고|에게|에서|으로|라고|처럼|까지|부터|이나|은|는|이|가|을|를|의|에|로|와|과|도|만|야|아"
)
_KOREAN = re.compile(rf"(?<=[가-힣]{{2}})(?:{_PARTICLES})$")
_ATTACHED = {"[\u0590-\u05ff]": PREFIXES["he"], "[\u0600-\u06ff]": PREFIXES["ar"]}


def korean_stem(word: str) -> str:
    """A Korean word without the particle written behind it, where two characters are left; others as they are."""
    return _KOREAN.sub("", word)


def bare(word: str, known: Container[str]) -> tuple[int, int]:
    """(start, end) of the part of a word that is `known`: without a Korean particle, or a Hebrew or Arabic prefix.

    The whole word where it is known itself, or no part of it is.
    """
    if word.isascii() or word in known:
        return 0, len(word)
    if (stem := korean_stem(word)) in known:
        return 0, len(stem)
    for script, prefixes in _ATTACHED.items():
        if re.match(script, word):
            for prefix in prefixes:
                if word.startswith(prefix) and word[len(prefix) :] in known:
                    return len(prefix), len(word)
    return 0, len(word)


def unspaced(text: str) -> bool:
    """Whether a character of a script without spaces stands in the text."""
    return not text.isascii() and _ONE.search(text) is not None


def units(text: str) -> list[str]:
    """What text is compared by: its words by white space, with what is attached; of a script without spaces, characters.

    A text with both is cut into both: `Ron 说：` is [Ron, 说, ：].
    """
    return _UNIT.findall(text) if unspaced(text) else text.split()


def first_units(text: str, count: int) -> str:
    """The first `count` units of a text; words with one space between them, other text as it stands."""
    if not unspaced(text):
        return " ".join(text.split()[:count])
    ends = [found.end() for found in _UNIT.finditer(text)]
    return text[: ends[min(count, len(ends)) - 1]] if ends and count else ""


def words(text: str) -> list[str]:
    """The words (`WORD`) of a text, as they are written."""
    return WORD.findall(text)


def mostly_unspaced(text: str) -> bool:
    """Whether at least half of a text's words are characters of a script without spaces."""
    found = words(text)
    return 2 * sum(unspaced(word) for word in found) >= max(1, len(found))


def whole(term: str) -> str:
    """A pattern that finds a term as whole words, whatever white space stands between them.

    A term that begins or ends in a script without spaces may stand next to other characters of it; a Korean one may have
    a particle behind it, a Hebrew or Arabic one a preposition or article before it.
    """
    parts = term.split()
    if not parts:
        return r"(?!)"
    spelled = r"\s+".join(map(re.escape, parts))
    last = words(parts[-1]) or parts[-1]
    before, after = BEFORE, AFTER
    for script, prefixes in _ATTACHED.items():
        if re.match(script, term):
            before = rf"{BEFORE}(?:{'|'.join(prefixes)})?"
    if re.search("[가-힣]$", term):
        after = rf"(?:{_PARTICLES})?{AFTER}"
    return ("" if unspaced(parts[0][0]) else before) + spelled + ("" if unspaced(last[-1]) else after)


def holds(text: str, term: str, words_of_text: frozenset[str] | set[str]) -> bool:
    """Whether one of a term's words stands in a text, whose words in lower case are `words_of_text`.

    Of a script without spaces, whether the term stands in it.
    """
    if unspaced(term):
        return term.lower() in text.lower()
    return any(word.lower() in words_of_text for word in words(term))


def lower(text: str, language: str = "en") -> str:
    """Lower case as the language has it: a Turkish I becomes ı, İ becomes i."""
    if language in ("tr", "az", "crh"):
        text = text.replace("I", "ı").replace("İ", "i")
    return text.lower()
