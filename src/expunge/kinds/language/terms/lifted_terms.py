"""A target's terms in other languages than English: words much more frequent there than in ordinary text.

English grammar (kind, plural, titles before it) is not used. Where capitals mark names
they are needed; where they mark every noun, or the script has none, rarity alone decides.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from expunge.data.text import frequencies
from expunge.data.text.language import Language
from expunge.data.text.words import PREFIXES, WORD, korean_stem, lower
from expunge.kinds.language.terms.counts import forget_rare, joint
from expunge.kinds.language.terms.foreign_names import listed_names
from expunge.kinds.language.terms.word_classes import RARE_ZIPF, keyness

EVERYDAY = 4.5
"zipf frequency from which a word with a capital is a term only if it is listed as a name"
UNKNOWN = 1.6
"zipf frequency below which frequencies in other languages mean nothing"
KEY, KEY_KNOWN = 1.3, 3.0
"minimum log-ratio in nats for a rare word, and for one that ordinary text knows"
KEY_ALONE, KEY_ALONE_KNOWN, KNOWN_ALONE = 1.9, 4.0, 4.2
"the same without a capital that marks a name; words from the last zipf frequency on are never terms"
LEAST, LEAST_ALONE = 2, 3
"minimum occurrences of a term, with a capital and without"
LONGEST = 4
"words, or pieces of a script without spaces, of a term"
MAX_COUNTED = 120_000
"entries of a table of counts; beyond, the rarest are dropped"
ABROAD = ("en", "fr", "es")
"languages that share German's names, but not its nouns"
_GERMAN_ENDINGS = ("innen", "ern", "en", "er", "es", "em", "ns", "in", "e", "n", "s")
_LINKS = ("", "s", "es", "n", "en", "er", "e")


@dataclass(frozen=True, slots=True)
class Lifted:
    """A term, its occurrences, and its log-ratio of frequencies to ordinary text in nats."""

    term: str
    count: int
    score: float


class LiftedCounts:
    """Counts over a target in one language, added text by text, in bounded memory."""

    def __init__(self, language: Language) -> None:
        self.language = language
        self.code = language.frequencies
        self.total = 0
        self.middle: Counter[str] = Counter()
        "words with a capital inside a sentence, in their own spelling"
        self.start: Counter[str] = Counter()
        "words with a capital at the beginning of a sentence"
        self.small: Counter[str] = Counter()
        "words without a capital, in lower case"
        self.runs: Counter[str] = Counter()
        "words with capitals in a row; in scripts without spaces, pieces in a row that the list of words does not join"
        self.names = listed_names(language.code)

    def add(self, text: str) -> None:
        if self.language.unspaced:
            self._add_unspaced(text)
        else:
            self._add_spaced(text)
        for table in (self.middle, self.start, self.small, self.runs):
            forget_rare(table, MAX_COUNTED)

    def _add_spaced(self, text: str) -> None:
        run: list[str] = []
        previous, end = "", 0
        for found in WORD.finditer(text):
            word = found.group()
            joined, new = joint(previous, text[end : found.start()]) if previous else (False, True)
            self.total += 1
            capital = word[0].isupper() and self.language.capitals != "none"
            if run and not (joined and capital):
                self._flush(run)
                run = []
            if not capital:
                small = lower(word, self.language.code)
                self.small[korean_stem(small) if self.language.code == "ko" else small] += 1
            else:
                (self.start if new else self.middle)[word] += 1
                run.append(word)
            previous, end = word, found.end()
        self._flush(run)

    def _flush(self, run: list[str]) -> None:
        if 2 <= len(run) <= LONGEST:
            self.runs[" ".join(run)] += 1

    def _add_unspaced(self, text: str) -> None:
        if self.code is None:
            return
        for stretch in frequencies.stretches(text):
            pieces = frequencies.segments(stretch, self.code)
            self.total += len(pieces)
            self.small.update(pieces)
            known = [self._zipf(piece) for piece in pieces]
            for first in range(len(pieces)):
                strange = 0
                for last in range(first, min(first + LONGEST, len(pieces))):
                    if not self._is_loose(pieces[last], known[last]):
                        break
                    strange += len(pieces[last]) == 1 or known[last] < RARE_ZIPF
                    if last > first and 2 * strange > last - first:
                        self.runs["".join(pieces[first : last + 1])] += 1

    def _is_loose(self, piece: str, known: float) -> bool:
        """Whether a piece may be a part of a name: a single character that is not a grammatical word, or not a common
        word."""
        if re.search(r"[\u3041-\u309f]", piece):  # hiragana writes grammar
            return False
        return known < (5.3 if len(piece) == 1 else KNOWN_ALONE)

    def terms(self, most: int) -> list[Lifted]:
        """At most `most` terms; those that weigh most (count times score) first."""
        if self.language.unspaced:
            found = self._unspaced_terms()
        elif self.language.capitals == "none":
            found = self._caseless_terms()
        else:
            found = self._capital_terms()
        return sorted(found, key=lambda each: (-each.count * each.score, each.term))[:most]

    def _zipf(self, word: str) -> float:
        return frequencies.zipf(word, self.code or "en")

    def _capital_terms(self) -> Iterator[Lifted]:
        singles: dict[str, Lifted] = {}
        for word, middle in self.middle.items():
            count = middle + self.start[word]
            small = self.small[lower(word, self.language.code)]
            if count < LEAST or len(word) < 3 or not word[0].isalpha() or count < 1.5 * small:
                continue
            known, listed = self._zipf(word), word in self.names
            key = keyness(known, count, self.total)
            noun = self.language.capitals == "nouns"
            if not listed and (known >= EVERYDAY or (noun and self._is_noun(word, known))):
                continue
            if key >= (KEY if known < RARE_ZIPF else KEY_KNOWN):
                singles[word] = Lifted(word, count, key)
        yield from singles.values()
        phrases: Counter[str] = Counter()
        for run, count in self.runs.items():
            # `In` that begins a sentence and `Stadt` are not parts of the name of a town.
            terms = [place for place, word in enumerate(run.split()) if word in singles]
            if len(terms) > 1:
                phrases[" ".join(run.split()[terms[0] : terms[-1] + 1])] += count
        for phrase, count in phrases.items():
            if count >= LEAST:
                yield Lifted(phrase, count, max(singles[word].score for word in phrase.split() if word in singles))

    def _is_noun(self, word: str, known: float) -> bool:
        """Whether a German word with a capital is rather a noun: hardly known abroad, or put together from nouns."""
        if known >= UNKNOWN:
            abroad = statistics.median(frequencies.zipf(word, language) for language in ABROAD)
            return known - abroad > 0.6
        if any(word.endswith(end) and self._zipf(word.removesuffix(end)) >= 2.0 for end in _GERMAN_ENDINGS):
            return True
        return self._is_compound(lower(word))

    def _is_compound(self, word: str) -> bool:
        for cut in range(3, len(word) - 2):
            first, rest = word[:cut], word[cut:]
            stems = [first.removesuffix(link) for link in _LINKS if first.endswith(link)]
            if any(len(stem) >= 3 and self._zipf(stem) >= 3.3 for stem in stems) and (
                self._zipf(rest) >= 2.5
                or any(self._zipf(rest.removesuffix(end)) >= 2.5 for end in ("en", "e", "n", "s"))
            ):
                return True
        return False

    def _caseless_terms(self) -> Iterator[Lifted]:
        if self.code is None:
            return
        least = 2 if self.language.code in ("ko", "hi", "bn", "ta", "ka") else 3
        for word, count in self.small.items():
            if count < LEAST_ALONE or len(word) < least or not word[0].isalpha() or word.isascii():
                continue
            prefixes = [p for p in PREFIXES.get(self.language.code, ()) if word.startswith(p)]
            parts = [word, *(word.removeprefix(p) for p in prefixes if len(word) - len(p) >= 2)]
            known = max(self._zipf(part) for part in parts)
            if self._is_key_alone(known, count):
                yield Lifted(word, count, keyness(known, count, self.total))

    def _is_key_alone(self, known: float, count: int) -> bool:
        needed = KEY_ALONE if known < RARE_ZIPF else KEY_ALONE_KNOWN
        return known < KNOWN_ALONE and keyness(known, count, self.total) >= needed

    def _unspaced_terms(self) -> Iterator[Lifted]:
        found: dict[str, Lifted] = {}
        for word, count in self.small.items():
            known = self._zipf(word)
            kana = re.fullmatch(r"[\u3041-\u309f]+", word)  # a word in hiragana alone is not a name
            if len(word) >= 2 and count >= LEAST_ALONE and not kana and self._is_key_alone(known, count):
                found[word] = Lifted(word, count, keyness(known, count, self.total))
        for run, count in self.runs.items():
            if count >= LEAST_ALONE:
                found[run] = Lifted(run, count, keyness(self._zipf(run), count, self.total))
        for term, each in found.items():
            longer = [other for other in found.values() if term != other.term and term in other.term]
            if not any(other.count >= 0.8 * each.count for other in longer):
                yield each


def lifted_terms(texts: Iterable[str], language: Language, most: int) -> tuple[list[Lifted], LiftedCounts]:
    """The terms of a target in another language than English, and the counts they come from; texts are read once."""
    counts = LiftedCounts(language)
    for text in texts:
        counts.add(text)
    return counts.terms(most), counts
