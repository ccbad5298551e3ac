"""The encoding of text that is not UTF-8: what a byte order mark says, or what its bytes show beyond doubt."""

from __future__ import annotations

import codecs
import io
import re
import string
import unicodedata
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import BinaryIO

from expunge.data.text.words import korean_stem, unspaced, words

LEAST = 6
"bytes beyond ASCII that must be there: of fewer nothing is certain"
MESS = 0.1
"how odd a reading may be at most (charset-normalizer's `chaos`), and how much odder the next one must be"
KNOWN, APART = 0.4, 0.25
"share of words beyond ASCII that the language's list must have, and how much less the next reading may have"
COMMON = 2.0
"zipf frequency of a word that is known: misspelt and misread ones are in the lists, too, but rarer"
MOST_WORDS = 400
"words of a reading that are looked up"
CANDIDATES = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "iso8859_2", "iso8859_15", "koi8_r"),
    *("cp866", "mac_roman", "gb18030", "big5", "cp932", "euc_jp", "cp949"),
)
"encodings in which text is still met; where several say the same of a text, the first is named"
_SHOWN = {"cp932": "shift_jis", "cp949": "euc_kr"} | {f"cp125{i}": f"windows-125{i}" for i in range(7)}
_BETWEEN = re.compile("[\\s“”„‚‘’«»‹›…—–¿¡]+")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # its mark begins with that of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def marked_encoding(head: bytes) -> str | None:
    """The encoding that a file's first bytes tell: by a mark, or by the zeros of UTF-16; None if they do not."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    head = head[: len(head) // 2 * 2]
    odd, even = head[1::2].count(0), head[::2].count(0)
    for zeros, others, name in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if len(head) >= 8 and zeros >= 0.8 * len(head) / 2 and others == 0:
            return name
    return None


def found_encoding(sample: bytes) -> str | None:
    """The encoding that text (lines with bytes beyond ASCII) shows; None if several readings are as likely.

    Every candidate that decodes all of it is a reading. The least odd one is taken where all others are odder by `MESS`;
    else the one whose words a list of their language knows, and the others' not.
    """
    if sum(byte > 127 for byte in sample) < LEAST:
        return None
    readings: dict[str, str] = {}
    for name in CANDIDATES:
        text = _decoded(sample, name)
        if text is not None and text not in readings.values():
            readings[name] = text
    odd = _oddness(sample, readings)
    likely = sorted((name for name in readings if odd.get(name, 1.0) <= MESS), key=lambda name: odd[name])
    near = [name for name in likely if odd[name] < odd[likely[0]] + MESS]
    known = {name: _known(readings[name]) for name in near}
    best = max(near, key=lambda name: known[name], default=None)
    if best is None or known[best] < KNOWN:
        return None
    others = (readings[name] for name in near if name != best)
    return best if all(_apart(readings[best], other) for other in others) else None


def shown_encoding(name: str) -> str:
    """The name by which people and iconv know a codec of Python's."""
    return _SHOWN.get(name, name.replace("iso8859_", "iso-8859-").replace("_", "-"))


def _decoded(sample: bytes, name: str) -> str | None:
    """The text; None if bytes are not of the encoding, or are control characters in it."""
    try:
        text = sample.decode(name)
    except UnicodeDecodeError:
        return None
    controls = any(
        unicodedata.category(char) in ("Cc", "Co", "Cn") and char not in "\t\n\v\f\r\x1b" for char in set(text)
    )
    return None if controls else text


def _oddness(sample: bytes, readings: dict[str, str]) -> dict[str, float]:
    from charset_normalizer import from_bytes

    found: dict[str, float] = {}
    if readings:
        for match in from_bytes(sample, cp_isolation=list(readings), preemptive_behaviour=False, enable_fallback=False):
            for name in {match.encoding, *match.could_be_from_charset} & set(readings):
                found[name] = min(match.chaos, found.get(name, 1.0))
    return found


def _apart(reading: str, other: str) -> bool:
    """Whether of the words in which two readings differ the first one's are known, and the other's are not."""
    one, two = _beyond_ascii(reading), _beyond_ascii(other)
    if unspaced(reading) or unspaced(other):
        return _known(reading) >= _known(other) + APART
    return _share(set(one) - set(two), reading) >= max(KNOWN, _share(set(two) - set(one), other) + APART)


def _known(text: str) -> float:
    """The share of a text's words beyond ASCII that ordinary text of its language has; 1 if it has no such word."""
    from expunge.data.text.frequencies import segments, stretches, zipf

    if not unspaced(text):
        return _share(_beyond_ascii(text), text)
    code = _language(text)
    runs = [run for run in stretches(text) if len(run) > 1][:MOST_WORDS]
    pieces = [piece for run in runs for piece in segments(run, code)] if code else []
    return sum(len(piece) for piece in pieces if len(piece) > 1 and zipf(piece, code or "") > 0) / max(
        1, sum(map(len, pieces))
    )


def _beyond_ascii(text: str) -> list[str]:
    """What stands between white space and marks, each once, where it is not ASCII alone."""
    found = (word.strip(string.punctuation) for word in _BETWEEN.split(text))
    return list(dict.fromkeys(word for word in found if not word.isascii()))[:MOST_WORDS]


def _share(found: Collection[str], text: str) -> float:
    """The share of words that the list of the text's language has; 1 of none."""
    from expunge.data.text.frequencies import zipf

    code = _language(text)
    if code is None or not found:
        return float(not found)
    whole = [word for word in found if words(word) == [word]]  # a sign within a word is a letter read wrongly
    return sum(max(zipf(word, code), zipf(korean_stem(word), code)) >= COMMON for word in whole) / len(found)


@lru_cache(maxsize=64)
def _language(text: str) -> str | None:
    from expunge.data.text.language import language_of

    return language_of([text]).frequencies


class Recoded(io.RawIOBase):
    """A file of another encoding as UTF-8, without a byte order mark.

    Args:
        refuse: makes the error for bytes that are not of the encoding, from the byte's place and the reason.
    """

    def __init__(self, file: BinaryIO, encoding: str, refuse: Callable[[int, str], Exception]) -> None:
        self._file, self._refuse = file, refuse
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._offset, self._ready, self._first, self._done = 0, b"", True, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview | bytearray) -> int:  # type: ignore[override]
        while not self._ready and not self._done:
            chunk = self._file.read(1 << 16)
            before = len(self._decoder.getstate()[0])
            try:
                text = self._decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise self._refuse(self._offset - before + error.start, error.reason) from error
            self._offset += len(chunk)
            self._done = not chunk
            if self._first and text:
                text, self._first = text.removeprefix("\ufeff"), False
            try:
                self._ready = text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise self._refuse(self._offset, "half of a character") from error
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size
