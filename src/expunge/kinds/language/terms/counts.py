"""Counting what a target says: capitalised runs and lower-case words with their surroundings, in bounded memory.

One pass over the text. Rare entries are dropped once the tables are full (lossy counting), so that memory does not
grow with the target.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from expunge.data.text.words import WORD
from expunge.kinds.language.terms import word_classes as lists

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
    """Number of times a run of capitalised words was met, and next to what; or a word in lower case (all `middle`)."""

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
    "next to said, asked, ..."
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


class TermCounts:
    """Counts over a target, added block by block; those of `watched` words (in lower case) exactly, in any case."""

    def __init__(self, watched: Collection[str] = ()) -> None:
        self.runs: defaultdict[str, Evidence] = defaultdict(Evidence)
        self.lower: defaultdict[str, Evidence] = defaultdict(Evidence)
        self.watched: Counter[str] = Counter(dict.fromkeys(watched, 0))
        self.words = 0
        self.gained = 0
        self.gain = 0.0

    def add(self, text: str, gains: Sequence[Gain] | None = None) -> None:
        """Count one block. `gains` are its tokens' gains in log-probability, by character offsets, if known."""
        _Scan(self, text, gains).run()
        forget_rare(self.runs, MAX_RUNS, attrgetter("count"))
        forget_rare(self.lower, MAX_WORDS, attrgetter("count"))

    @property
    def mean_gain(self) -> float:
        """Mean gain of a word, in nats."""
        return self.gain / self.gained if self.gained else 0.0

    def lower_count(self, word: str) -> int:
        return self.lower[word].count if word in self.lower else 0


def forget_rare(table: dict[str, Any], most: int, count: Callable[[Any], int] = int) -> None:
    """Leave the rarest out of a table of more than `most` entries, until two thirds of `most` are left."""
    floor, left = 1, most if len(table) <= most else most * 2 // 3
    while len(table) > left:
        for key in [key for key, row in table.items() if count(row) <= floor]:
            del table[key]
        floor += 1


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
        previous, previous_end, number = "", 0, 0
        for found in WORD.finditer(self.text):
            between = self.text[previous_end : found.start()]
            previous_end = found.end()
            if between in ("'", "’") and found.group().lower() in _SUFFIXES:
                continue
            number += 1
            while skipped and skipped[-1][1] <= found.start():
                skipped.pop()
            if skipped and skipped[-1][0] <= found.start():
                self.flush("")
            else:
                self.read(found, number, previous, between)
            previous = found.group()
        self.flush("")

    def read(self, found: re.Match[str], number: int, previous: str, between: str) -> None:
        """Count the word `number` of the block, by the word before it and the text between them."""
        counts, word = self.counts, found.group()
        small, before = word.lower(), previous.lower()
        joined, new = joint(previous, between) if previous else (False, True)
        counts.words += 1
        gained, gain = self.gain(*found.span())
        counts.gained += gained
        counts.gain += gain
        if small in counts.watched:
            counts.watched[small] += 1
        capital = word[0].isupper() and (between == "-" or small not in lists.FUNCTION)
        if self.run_span and joined and capital and self.connects():
            self.run_span, self.connectors = (self.run_span[0], found.end()), []
            return
        if self.run_span and joined and not capital and self.may_connect(small):
            self.connectors.append(small)
        else:
            self.flush(small if joined or between.strip() in (",", ',"', ",”", "") else "")
            if capital:
                self.run_span, self.run_starts_sentence = found.span(), new
                self.before_run = before if joined and not new else ""
        if not word[0].isupper():
            row = counts.lower[small]
            row.middle += 1
            row.gained += gained
            row.gain += gain
            row.determiner += before in lists.DETERMINERS
        if self.latest and small in _PRONOUNS and number - self.latest_at <= _PRONOUN_REACH:
            setattr(self.latest, _PRONOUNS[small], getattr(self.latest, _PRONOUNS[small]) + 1)
            self.latest = None
        if capital:
            self.latest_at = number

    def connects(self) -> bool:
        """Whether the words since the last capitalised word connect it to the next."""
        read = tuple(self.connectors)
        return not read or read in lists.CONNECTORS or (read == ("and",) and self.holds_of())

    def may_connect(self, small: str) -> bool:
        read = (*self.connectors, small)
        return any(known[: len(read)] == read for known in lists.CONNECTORS) or (read == ("and",) and self.holds_of())

    def holds_of(self) -> bool:
        return self.run_span is not None and " of " in self.text[slice(*self.run_span)]

    def flush(self, after: str) -> None:
        """End the run, if there is one, and count it; `after` is the lower-cased word behind it."""
        if self.run_span is None:
            return
        after = self.connectors[0] if self.connectors else after
        start, end = self.run_span
        words = [found.span() for found in WORD.finditer(self.text, start, end)]
        titles = [self.before_run] if self.before_run in lists.TITLES else []
        small = [self.text[a:b].lower() for a, b in words]
        while len(words) > 1 and small[0] in lists.TITLES and small[1] not in ("of", "de", "and"):
            titles.append(small[0])
            words, small = words[1:], small[1:]
        self.run_span, self.connectors = None, []
        if all(word in lists.TITLES for word in small):
            return
        surface = " ".join(self.text[words[0][0] : end].split())
        row = self.counts.runs[surface]
        stripped = words[0][0] > start
        if self.run_starts_sentence and not stripped:
            row.start += 1
        else:
            row.middle += 1
        gained, gain = self.gain(words[0][0], end)
        row.gained += gained
        row.gain += gain
        if not stripped:
            row.determiner += self.before_run in lists.DETERMINERS
            row.indefinite += self.before_run in lists.INDEFINITE
            row.preposition += self.before_run in lists.PLACE_PREPOSITIONS
        row.speech += self.before_run in lists.SPEECH or after in lists.SPEECH
        row.attributive += after in lists.NOUNS
        row.title += bool(titles)
        row.given_title += not lists.GIVEN_NAME_TITLES.isdisjoint(titles)
        row.male += not lists.MALE_TITLES.isdisjoint(titles)
        row.female += not lists.FEMALE_TITLES.isdisjoint(titles)
        self.latest = row

    def gain(self, start: int, end: int) -> tuple[int, float]:
        """(1, sum of the gains of the tokens that overlap these characters), or (0, 0) if there are none."""
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
    """Spans of lines whose capitals mean nothing: titles alone above longer text, and lines all in capitals."""
    lines = list(_LINE.finditer(text))
    spans = []
    for line in lines:
        content = line.group().strip()
        alone = text[max(line.start() - 2, 0) : line.start()] in ("", "\n", "\n\n") and (
            text[line.end() : line.end() + 2] in ("\n", "\n\n")
        )
        words = [w for w in WORD.findall(content) if w.lower() not in lists.FUNCTION]
        titled = len(words) > 1 and all(not w[0].islower() for w in words)
        heading = alone and titled and len(content) < 80 and content[-1].isalnum() and len(lines) > 1
        if heading or (content.isupper() and len(words) > 1):
            spans.append(line.span())
    return spans
