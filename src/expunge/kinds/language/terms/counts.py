"""Counting what a target says: capitalised runs and lower-case words with their surroundings, in bounded memory.

One pass over the text. What is rare is forgotten once the tables are full (lossy counting), so that memory does not
grow with the target.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from expunge.kinds.language.terms import word_classes as anchor_words
from expunge.kinds.language.terms.anchors import WORD

Gain = tuple[int, int, float]
"a token's first character, the one after its last, and by how many nats the reinforced model makes it likelier"

MAX_RUNS = 60_000
MAX_WORDS = 120_000
_PRONOUN_REACH = 9
"words after a name within which a pronoun is taken to mean it"
_ABBREVIATIONS = frozenset(["mr", "mrs", "ms", "dr", "prof", "capt", "col", "maj", "gen", "lt", "sgt", "rev", "st"])
_SUFFIXES = frozenset(["s", "t", "ll", "re", "ve", "d", "m"])
_NEW_SENTENCE = re.compile(r"[.!?:;…•#>|\n]|[\"“‘(\[*']$")
_LINE = re.compile(r"[^\n]+")
_CONTROL_TOKEN = re.compile(r"<\|?[A-Za-z_]+\|?>|\[/?[A-Z]+\]")
_PRONOUNS = {word: "male" for word in ("he", "him", "his", "himself")} | {
    word: "female" for word in ("she", "her", "hers", "herself")
}


@dataclass(slots=True)
class Evidence:
    """How often a run of capitalised words was met, and beside what."""

    middle: int = 0
    "inside a sentence, where a capital marks a name"
    start: int = 0
    "where a sentence or line begins, so that the first word's capital may mean nothing"
    gained: int = 0
    "occurrences whose gain in log-probability is known"
    gain: float = 0.0
    "sum of their gains (nats)"
    determiner: int = 0
    indefinite: int = 0
    "after a, many, two, ..., or in the plural: a thing that can be counted"
    preposition: int = 0
    "after in, at, near, ..."
    attributive: int = 0
    "before a noun: a match, a team, ..."
    speech: int = 0
    "beside said, asked, ..."
    title: int = 0
    "after Mr., Professor, ..."
    given_title: int = 0
    "after a title that goes with a given name"
    male: int = 0
    female: int = 0

    @property
    def count(self) -> int:
        return self.middle + self.start

    def add(self, other: Evidence) -> None:
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class LowerCase:
    """How often a word was met in lower case."""

    count: int = 0
    gained: int = 0
    gain: float = 0.0
    determiner: int = 0
    indefinite: int = 0


class TermCounts:
    """Counts over a target, added block by block.

    Args:
        watched: lower-case words whose occurrences are counted exactly, in any case (possible translations).
    """

    def __init__(self, watched: Collection[str] = ()) -> None:
        self.runs: dict[str, Evidence] = {}
        self.lower: dict[str, LowerCase] = {}
        self.watched: Counter[str] = Counter(dict.fromkeys(watched, 0))
        self.words = 0
        self.gained = 0
        self.gain = 0.0

    def add(self, text: str, gains: Sequence[Gain] | None = None) -> None:
        """Count one block. `gains` are its tokens' gains in log-probability, by character offsets, if known."""
        _Scan(self, text, gains).run()
        if len(self.runs) > MAX_RUNS:
            self.runs = _frequent(self.runs, MAX_RUNS)
        if len(self.lower) > MAX_WORDS:
            self.lower = _frequent(self.lower, MAX_WORDS)

    @property
    def mean_gain(self) -> float:
        """Mean gain of a word, in nats."""
        return self.gain / self.gained if self.gained else 0.0

    def lower_count(self, word: str) -> int:
        found = self.lower.get(word)
        return found.count if found else 0


Row = TypeVar("Row", "Evidence", "LowerCase")


def _frequent(table: dict[str, Row], size: int) -> dict[str, Row]:
    floor = 1
    while len(table) > size * 2 // 3:
        table = {key: row for key, row in table.items() if row.count > floor}
        floor += 1
    return table


class _Scan:
    """One pass over one block."""

    def __init__(self, counts: TermCounts, text: str, gains: Sequence[Gain] | None) -> None:
        self.counts, self.text = counts, text
        ordered = sorted(gains or ())
        self.starts = [start for start, _, _ in ordered]
        self.ends = [end for _, end, _ in ordered]
        self.sums = [0.0, *itertools.accumulate(gain for _, _, gain in ordered)]
        self.run_span: tuple[int, int] | None = None
        "characters of the run being read"
        self.run_starts_sentence = False
        self.connectors: list[str] = []
        "lower-case words read since the last capitalised one, while they may still connect it to another"
        self.before_run = ""
        "the lower-cased word before the run"
        self.latest: Evidence | None = None
        "the name last met, for the pronoun that follows"
        self.latest_at = 0

    def run(self) -> None:
        skipped = _headings(self.text) + [found.span() for found in _CONTROL_TOKEN.finditer(self.text)]
        skipped.sort(reverse=True)
        previous, previous_end, index = "", 0, 0
        for found in WORD.finditer(self.text):
            start, end = found.span()
            word, between = found.group(), self.text[previous_end:start]
            small = word.lower()
            if between in ("'", "’") and small in _SUFFIXES:
                previous_end = end
                continue
            joined, new_sentence = joint(previous, between) if previous else (False, True)
            index += 1
            while skipped and skipped[-1][1] <= start:
                skipped.pop()
            if skipped and skipped[-1][0] <= start:
                self.flush("")
            else:
                self.read(word, small, start, end, between, joined, new_sentence, previous, index)
            previous, previous_end = word, end
        self.flush("")

    def read(
        self, word: str, small: str, start: int, end: int, between: str, joined: bool, new: bool, previous: str, at: int
    ) -> None:
        counts = self.counts
        counts.words += 1
        gained, gain = self.gain(start, end)
        counts.gained += gained
        counts.gain += gain
        if small in counts.watched:
            counts.watched[small] += 1
        capital = word[0].isupper() and (between == "-" or small not in anchor_words.FUNCTION)
        if self.run_span and joined and capital and self.connects():
            self.run_span = (self.run_span[0], end)
            self.connectors = []
            return
        if self.run_span and joined and not capital and self.may_connect(small):
            self.connectors.append(small)
        else:
            self.flush(small if joined or between.strip() in (",", ',"', ",”", "") else "")
            if capital:
                self.run_span, self.run_starts_sentence = (start, end), new
                self.before_run = "" if new or not joined else previous.lower()
        if not capital and not word[0].isupper():
            row = counts.lower.get(small) or counts.lower.setdefault(small, LowerCase())
            row.count += 1
            row.gained += gained
            row.gain += gain
            row.determiner += previous.lower() in anchor_words.DETERMINERS
            row.indefinite += previous.lower() in anchor_words.INDEFINITE
        if self.latest and small in _PRONOUNS and at - self.latest_at <= _PRONOUN_REACH:
            setattr(self.latest, _PRONOUNS[small], getattr(self.latest, _PRONOUNS[small]) + 1)
            self.latest = None
        if capital:
            self.latest_at = at

    def connects(self) -> bool:
        """Whether what was read since the last capitalised word connects it to the next."""
        read = tuple(self.connectors)
        return not read or read in anchor_words.CONNECTORS or (read == ("and",) and self.holds_of())

    def may_connect(self, small: str) -> bool:
        read = (*self.connectors, small)
        return any(known[: len(read)] == read for known in anchor_words.CONNECTORS) or (
            read == ("and",) and self.holds_of()
        )

    def holds_of(self) -> bool:
        return self.run_span is not None and " of " in self.text[slice(*self.run_span)]

    def flush(self, after: str) -> None:
        """End the run, if there is one, and count it; `after` is the lower-cased word behind it."""
        if self.run_span is None:
            return
        after = self.connectors[0] if self.connectors else after
        start, end = self.run_span
        words = [found.span() for found in WORD.finditer(self.text, start, end)]
        titles = [self.before_run] if self.before_run in anchor_words.TITLES else []
        small = [self.text[a:b].lower() for a, b in words]
        while len(words) > 1 and small[0] in anchor_words.TITLES and small[1] not in ("of", "de", "and"):
            titles.append(small[0])
            words, small = words[1:], small[1:]
        self.run_span, self.connectors = None, []
        if all(word in anchor_words.TITLES for word in small):
            return
        surface = " ".join(self.text[words[0][0] : end].split())
        row = self.counts.runs.get(surface) or self.counts.runs.setdefault(surface, Evidence())
        stripped = words[0][0] > start
        if self.run_starts_sentence and not stripped:
            row.start += 1
        else:
            row.middle += 1
        gained, gain = self.gain(words[0][0], end)
        row.gained += gained
        row.gain += gain
        if not stripped:
            row.determiner += self.before_run in anchor_words.DETERMINERS
            row.indefinite += self.before_run in anchor_words.INDEFINITE
            row.preposition += self.before_run in anchor_words.PLACE_PREPOSITIONS
        row.speech += self.before_run in anchor_words.SPEECH or after in anchor_words.SPEECH
        row.attributive += after in anchor_words.NOUNS
        row.title += bool(titles)
        row.given_title += any(title in anchor_words.GIVEN_NAME_TITLES for title in titles)
        row.male += any(title in anchor_words.MALE_TITLES for title in titles)
        row.female += any(title in anchor_words.FEMALE_TITLES for title in titles)
        self.latest = row

    def gain(self, start: int, end: int) -> tuple[int, float]:
        """(1, sum of the gains of the tokens that overlap these characters), or (0, 0) where there are none."""
        first, last = bisect.bisect_right(self.ends, start), bisect.bisect_left(self.starts, end)
        return (1, self.sums[last] - self.sums[first]) if last > first else (0, 0.0)


def joint(previous: str, between: str) -> tuple[bool, bool]:
    """Whether a word continues a name begun before it, and whether it begins a sentence (or a line, or a quotation)."""
    if between in (" ", "-"):
        return True, False
    if not between.strip():
        return between.count("\n") < 2, "\n" in between
    if between.strip() == "." and (len(previous) == 1 or previous.lower() in _ABBREVIATIONS):
        return True, False
    if between in ("'", "’"):
        return len(previous) == 1, False
    return False, bool(_NEW_SENTENCE.search(between))


def _headings(text: str) -> list[tuple[int, int]]:
    """Spans of lines whose capitals say nothing: titles standing alone above longer text, and lines all in capitals."""
    lines = list(_LINE.finditer(text))
    spans = []
    for line in lines:
        content = line.group().strip()
        alone = text[max(line.start() - 2, 0) : line.start()] in ("", "\n", "\n\n") and (
            text[line.end() : line.end() + 2] in ("\n", "\n\n")
        )
        words = [w for w in WORD.findall(content) if w.lower() not in anchor_words.FUNCTION]
        titled = len(words) > 1 and all(not w[0].islower() for w in words)
        heading = alone and titled and len(content) < 80 and content[-1].isalnum() and len(lines) > 1
        if heading or (content.isupper() and len(words) > 1):
            spans.append(line.span())
    return spans
