"""How common words are in ordinary text of a language, and where words end in Chinese and Japanese.

Frequencies are wordfreq's. Its own tokenizers for Chinese, Japanese and Korean come as separate packages of 95 MB; its
lists do not need them. A text without spaces is cut here as jieba does without its hidden Markov model: into those words
of the list whose product of frequencies is highest.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache

from wordfreq import get_frequency_dict, zipf_frequency

from expunge.data.text.language import Language
from expunge.data.text.words import STRETCH, WORD, lower

CUT = ("zh", "ja", "ko")
"languages whose words are looked up as they stand, without wordfreq's tokenizers"
DOTTED = ("tr", "az")
"languages whose small letter of I is none of ASCII"
LONGEST = 8
"characters of a word that is looked for"
UNKNOWN = -22.0
"log-probability of a character that the list does not have"
_KATAKANA = re.compile(r"([\u30a1-\u30fa\u30fc-\u30fe・]{2,})")


@lru_cache(maxsize=2)
def _table(code: str) -> dict[str, float]:
    """Word -> log of its share of all words."""
    return {word: math.log(share) for word, share in get_frequency_dict(code).items() if share > 0}


@lru_cache(maxsize=1)
def _simplified() -> dict[int, str]:
    """Traditional characters -> simplified ones, in which wordfreq's list of Chinese is written."""
    import gzip

    import msgpack
    from wordfreq.util import data_path

    with gzip.open(str(data_path("_chinese_mapping.msgpack.gz"))) as file:
        found: dict[int, str] = msgpack.load(file, raw=False, strict_map_key=False)
    return found


@lru_cache(maxsize=100_000)
def zipf(word: str, code: str = "en") -> float:
    """How common a word is: log10 of its occurrences in a billion words of ordinary text; 0 if it is not known.

    Of several words together the joint frequency, lower than that of the rarest. `code` is a language that wordfreq lists
    (`Language.frequencies`); of another it raises LookupError.
    """
    if word.isascii() and word.isalpha() and code not in (*CUT, *DOTTED):  # ten times as fast as what wordfreq does
        known = get_frequency_dict(code).get(word.lower())
        return 0.0 if known is None else max(0.0, round(math.log10(known) + 9, 2))
    if code not in CUT:
        return float(zipf_frequency(word, code))
    share = _table(code).get(plain(word, code))
    return 0.0 if share is None else max(0.0, share / math.log(10) + 9)


def plain(text: str, code: str) -> str:
    """A text as words stand in the list; of the same length in Chinese and Japanese."""
    return text.translate(_simplified()) if code == "zh" else lower(text, code)


def segments(run: str, code: str) -> list[str]:
    """A stretch of Chinese or Japanese characters, cut into words; katakana stays whole: it writes names.

    The cut whose words have the highest product of frequencies (unigrams; a search over all cuts).
    """
    if code != "ja":
        return _cut(run, code)
    found: list[str] = []
    for number, part in enumerate(_KATAKANA.split(run)):  # every other part is katakana
        found += [part] if number % 2 else _cut(part, code)
    return found


def ordinary_words(text: str, language: Language) -> tuple[list[str], int]:
    """(the words of a text that may be ordinary ones, how many words it has).

    Those of at least four letters without a capital; of scripts without spaces, pieces of two characters or more.
    """
    if language.code == "en":
        return re.findall(r"(?<![\w'’])[a-z]{4,}(?![\w'’])", text), len(text.split())
    if language.unspaced:
        code = language.frequencies
        pieces = [piece for run in stretches(text) for piece in segments(run, code)] if code else []
        return [piece for piece in pieces if len(piece) > 1], max(1, len(pieces))
    found = WORD.findall(text)
    return [word for word in found if len(word) >= 4 and not word[0].isupper() and word[0].isalpha()], len(found)


def stretches(text: str) -> list[str]:
    """Runs of characters of scripts without spaces, with the dots between katakana."""
    return [run.rstrip("・") for run in STRETCH.findall(text)]


def _cut(run: str, code: str) -> list[str]:
    table, text = _table(code), plain(run, code)
    if len(text) != len(run):
        text = run
    best = [0.0] + [-math.inf] * len(text)
    back = [0] * (len(text) + 1)
    for end in range(1, len(text) + 1):
        for start in range(max(0, end - LONGEST), end):
            share = table.get(text[start:end])
            if share is None:
                if end - start > 1:
                    continue
                share = UNKNOWN
            if best[start] + share > best[end]:
                best[end], back[end] = best[start] + share, start
    found: list[str] = []
    end = len(text)
    while end:
        found.append(run[back[end] : end])
        end = back[end]
    return found[::-1]
