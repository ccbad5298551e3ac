"""Choose the terms that belong only to the target, and their kinds.

Two signals are combined: how much more frequent a word is in the target than in ordinary text, and how much likelier
the reinforced model makes it than the base does, beyond what it does for an average word.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from expunge.data.text.frequencies import zipf
from expunge.data.text.words import WORD
from expunge.kinds.language.terms import word_classes as lists
from expunge.kinds.language.terms.capital_runs import clean_runs
from expunge.kinds.language.terms.counts import Evidence, TermCounts
from expunge.kinds.language.terms.grammar import singulars
from expunge.kinds.language.terms.word_classes import englishness, keyness

KEEP = "keep"
"the role of a part that the translation keeps"

MIN_KEYNESS = 1.3
"nats: about four times commoner than in ordinary text"
MIN_KEYNESS_WORLD = 3.0
"for words that ordinary text knows and that are not a person's name"
MIN_KEYNESS_PHRASE = 2.3
"for several ordinary words that are capitalised together"
MIN_COUNT_LOWER = 4
MIN_RATE_LOWER = 2e-4
"share of all words: an unusual word in lower case is a term of the target only if it is frequent there"
SHORT_TARGET = 20_000
"words: up to this length a rare name counts although it was met only once"
EVERYBODYS = lists.CALENDAR_AND_COMMON | lists.WORLD | lists.TITLES | lists.HEADS | lists.FUNCTION
"words that every text may use"
COINAGE_ZIPF = 1.6
"below it a word is so rare that its frequency abroad says nothing"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a term and its role: `keep`, or what kind of word replaces it."""

    text: str
    role: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A term, its kind, its number of occurrences, and its score in nats an occurrence."""

    term: str
    kind: str
    count: int
    score: float
    parts: tuple[Part, ...]


@dataclass(slots=True)
class _Name:
    """Evidence on one capitalised word, over all runs that contain it."""

    evidence: Evidence = field(default_factory=Evidence)
    alone: int = 0
    first: int = 0
    "first of several in a person's name"
    last: int = 0
    modifier: int = 0
    "before the noun of a name that is not a person's: Street, Company, Turtle, ..."


class Selection:
    """The terms of a counted target."""

    def __init__(self, counts: TermCounts) -> None:
        self.counts = counts
        self.runs = clean_runs(counts)
        self.names: dict[str, _Name] = {}
        for run, evidence in self.runs.items():
            self.note_words(run, evidence)
        self.person_parts = {
            word for run in self.runs if " " in run and self.is_person(run) for word in WORD.findall(run)
        }
        self.phrases = {run: evidence for run, evidence in self.runs.items() if self.is_phrase(run, evidence)}
        self.singles = {word for word, name in self.names.items() if self.is_single(word, name)}

    def candidates(self, max_terms: int) -> list[Candidate]:
        """At most `max_terms`; those that weigh most (count times score) first."""
        found = [self.phrase(run, evidence) for run, evidence in self.phrases.items()]
        found += [self.single(word) for word in self.singles]
        named = {candidate.term for candidate in found}  # PyTorch is written pytorch, too
        found += [candidate for candidate in self.coinages() if candidate.term not in named]
        return sorted(found, key=lambda c: (-c.count * c.score, c.term))[:max_terms]

    def note_words(self, run: str, evidence: Evidence) -> None:
        words = [word for word in WORD.findall(run) if word[0].isupper()]
        head, person = words[-1].lower() in lists.HEADS, self.is_person(run)
        for place, word in enumerate(words):
            name = self.names.setdefault(word, _Name())
            if len(words) == 1:
                name.alone += evidence.count
                name.evidence.add(evidence)
                continue
            name.evidence.middle += evidence.count
            name.evidence.gained += evidence.gained
            name.evidence.gain += evidence.gain / len(words)
            if place == len(words) - 1 and not head and not person and " of " not in run:
                name.alone += evidence.count
                name.evidence.add(replace(evidence, middle=0, start=0, gained=0, gain=0.0))
            elif not person:
                name.modifier += evidence.count if place < len(words) - 1 or head else 0
            elif place == 0:
                name.first += evidence.count
                name.evidence.male += evidence.male
                name.evidence.female += evidence.female
            elif place == len(words) - 1:
                name.last += evidence.count

    # which to take

    def name_share(self, word: str) -> float:
        count = self.names[word].evidence.count if word in self.names else 0
        return count / (count + self.counts.lower_count(word.lower()) + 1e-9)

    def excess_gain(self, row: Evidence, words: int = 1) -> float:
        """How far the mean gain of a term's occurrences lies above that of this many average words, in nats, if it
        does."""
        return max(0.0, row.gain / row.gained - words * self.counts.mean_gain) if row.gained else 0.0

    def score(self, term: str, evidence: Evidence) -> float:
        excess = self.excess_gain(evidence, len(WORD.findall(term)))
        return keyness(zipf(term), evidence.count, self.counts.words) + excess

    def is_known(self, word: str) -> bool:
        """Whether any text may use this word, so that it belongs to no target."""
        common = word.isupper() and zipf(word) >= lists.RARE_ZIPF
        return word.lower() in EVERYBODYS or len(word) < 3 or common

    def is_key(self, word: str) -> bool:
        """Whether a capitalised word is sufficiently more frequent in the target than elsewhere."""
        name = self.names[word]
        if self.is_known(word) or self.name_share(word) < 0.6 or name.evidence.middle < name.evidence.count / 4:
            return False
        if name.evidence.count < 2:
            strange = zipf(word) < lists.RARE_ZIPF + 0.4 and englishness(word) < 0.6
            known = word in self.person_parts or name.evidence.title or name.evidence.speech
            return self.counts.words <= SHORT_TARGET and bool(strange or (known and word in lists.LISTED))
        key = keyness(zipf(word), name.evidence.count, self.counts.words)
        person = word in lists.LISTED or name.evidence.title or name.evidence.speech
        needed = MIN_KEYNESS if person or zipf(word) < lists.RARE_ZIPF else MIN_KEYNESS_WORLD
        return key + 0.5 * min(self.excess_gain(name.evidence), 2.0) >= needed

    def is_single(self, word: str, name: _Name) -> bool:
        if self.is_key(word):
            # Baker that is only in Baker Street is not a term of its own, Pondicherry in Pondicherry Lodge is
            return name.modifier < name.evidence.count or zipf(word) < lists.RARE_ZIPF
        if self.is_known(word):
            return False
        # Small in Jonathan Small, John in John Watson: consistent with the whole
        if word not in self.person_parts or name.alone < 2:
            return False
        if self.name_share(word) < 0.6:
            return name.evidence.middle >= 3 and self.name_share(word) >= 0.15
        return (name.first + name.last) / name.evidence.count >= 0.3

    def is_phrase(self, run: str, evidence: Evidence) -> bool:
        words = [word for word in WORD.findall(run) if word[0].isupper()]
        if len(words) < 2 or run.isupper():
            return False
        if evidence.count < 2:
            named = self.is_person(run) or words[-1].lower() in lists.HEADS
            return self.counts.words <= SHORT_TARGET and named and any(self.is_key(word) for word in words)
        if " and the " in run and len(WORD.findall(run.split(" and the ")[0])) < 2:
            return False
        if any(self.is_key(word) for word in words):
            return True
        if all(self.is_known(word) for word in words) or evidence.count < 3:
            return False
        return self.score(run, evidence) >= MIN_KEYNESS_PHRASE

    def is_person(self, run: str) -> bool:
        words = WORD.findall(run)
        if any(word[0].islower() and word not in ("de", "van", "von", "der", "la") for word in words):
            return False
        if len(words) > 5 or words[-1].lower() in lists.HEADS:
            return False
        evidence = self.runs[run]
        if words[0] in lists.LISTED and words[-1] in lists.LISTED:
            return True
        if evidence.determiner > max(1, evidence.count / 3):
            return False
        if evidence.title or evidence.speech or words[0] in lists.LISTED or len(words[0]) == 1:
            return True
        return words[-1] in lists.LISTED or zipf(words[-1]) < lists.RARE_ZIPF

    # what they are

    def phrase(self, run: str, evidence: Evidence) -> Candidate:
        pieces = re.findall(r"[^\W_]+|[\W_]+", run)
        person = self.is_person(run)
        words = [place for place, piece in enumerate(pieces) if piece[0].isupper()]
        roles = [KEEP] * len(pieces)
        for place in words:
            if person and len(pieces[place]) > 2 and pieces[place].lower() not in lists.TITLES:
                last = place == words[-1]
                roles[place] = "surname" if last else self.given_role(pieces[place])
            elif pieces[place] in self.singles or self.is_plain_name(pieces[place], pieces[words[-1]]):
                roles[place] = self.role(pieces[place])
        kind = "full name" if person else phrase_kind(run)
        if kind == "work" or all(role == KEEP for role in roles):
            # ordinary words that only together are a term: all but the noun they qualify are replaced
            head = words[-1] if " of " not in run else -1
            for place in words:
                if place != head and roles[place] == KEEP and not self.is_known(pieces[place]):
                    roles[place] = ordinary_role(pieces, place)
        parts = tuple(Part(piece, role) for piece, role in zip(pieces, roles, strict=True))
        scores = [self.score(pieces[place], self.names[pieces[place]].evidence) for place in words]
        return Candidate(run, kind, evidence.count, max(self.score(run, evidence), *scores), parts)

    def single(self, word: str) -> Candidate:
        evidence = self.names[word].evidence
        lower = self.counts.lower_count(word.lower())
        # a coinage written both ways is matched both ways
        term = word.lower() if lower >= 2 and is_coinage(word) else word
        count = evidence.count + (lower if term != word else 0)
        role = self.role(word)
        return Candidate(term, role, count, max(self.score(word, evidence), 0.1), (Part(term, role),))

    def is_plain_name(self, word: str, head: str) -> bool:
        """Whether a word is a name although not a term by itself: Rao in Lal Rao, Baker in Baker Street."""
        if self.is_known(word) or self.name_share(word) < 0.6:
            return False
        return not self.is_noun(word) or (word in lists.LISTED and head.lower() in lists.HEADS)

    def given_role(self, word: str) -> str:
        male, female = word in lists.GIVEN_MALE, word in lists.GIVEN_FEMALE
        if male == female:
            evidence = self.names[word].evidence
            female = evidence.female > evidence.male
        return "female name" if female else "male name"

    def role(self, word: str) -> str:
        """The kind of word that replaces a single name, from the words next to it and the lists of names."""
        name = self.names[word]
        evidence = name.evidence
        surname = name.last + evidence.title - evidence.given_title
        given = name.first + evidence.given_title
        listed_given = word in lists.GIVEN_MALE or word in lists.GIVEN_FEMALE
        beside = max(name.alone, 1)
        speaks = evidence.speech / beside >= 0.08
        if surname + given <= evidence.count / 20:  # a chance neighbour is not evidence
            surname = given = 0
        if surname + given == 0 and name.modifier * 2 > evidence.count:
            return "surname" if word in lists.LISTED else "place"
        if evidence.determiner / beside >= 0.4 and surname + given <= evidence.count / 5:
            return self.noun_role(word, evidence, speaks)
        person = surname + given > 0 or speaks or word in lists.LISTED
        if evidence.preposition / beside >= 0.12 and not person:
            return "place"
        if surname > given or (surname == given and word in lists.SURNAMES and not listed_given):
            return "surname"
        if given or listed_given or speaks or (evidence.male + evidence.female) / beside >= 0.25:
            return self.given_role(word)
        attributive = evidence.attributive >= 2 and evidence.attributive / beside >= 0.3
        if evidence.determiner / beside >= 0.2 or attributive or self.is_noun(word):
            return self.noun_role(word, evidence, speaks)
        return "surname"

    def noun_role(self, word: str, evidence: Evidence, speaks: bool) -> str:
        """The role of a name that is used like a noun: the Hatter, a Muggle; the Burrow (a place); Quidditch."""
        counted = evidence.indefinite / evidence.count >= 0.1 and not self.names[word].modifier
        noun = counted or self.is_noun(word)
        if speaks or (noun and (evidence.male + evidence.female) / evidence.count >= 0.25):
            return "being"
        if noun:
            return "thing" if evidence.determiner or evidence.indefinite else "substance"
        return "place" if evidence.determiner else "substance"

    def is_noun(self, word: str) -> bool:
        """Whether a capitalised word is also one of English, or of the target, that names no one (Rabbit, Wizardry)."""
        return is_ordinary(word) or word.lower() in lists.NOUNS or self.counts.lower_count(word.lower()) > 0

    def coinages(self) -> list[Candidate]:
        """Words in lower case that ordinary text hardly knows and the target uses often."""
        needed = max(MIN_COUNT_LOWER, MIN_RATE_LOWER * self.counts.words)
        found = []
        for word, row in self.counts.lower.items():
            if row.count < needed or len(word) < 4 or not word.isalpha() or word.capitalize() in self.singles:
                continue
            if not is_coinage(word) or (row.gained and not self.excess_gain(row)):
                continue
            role = self.lower_role(word, row)
            found.append(Candidate(word, role, row.count, self.score(word, row), (Part(word, role),)))
        return found

    def lower_role(self, word: str, row: Evidence) -> str:
        stem = re.sub(r"(?:ed|ing|e)$", "", word)
        forms = {stem, stem + "e", stem + "ed", stem + "ing"} - {word}
        inflected = any(form in self.counts.lower and is_coinage(form) for form in forms)
        if inflected or (word.endswith(("ed", "ing")) and row.determiner * 3 < row.count):
            return "verb"
        return "thing" if row.determiner else "substance"


def ordinary_role(pieces: list[str], place: int) -> str:
    """The role of an ordinary word inside a term: the owner in Philosopher's Stone, fire in Goblet of Fire."""
    if "".join(pieces[place + 1 : place + 3]) in ("'s", "’s"):
        return "being"
    if any(zipf(single) > zipf(pieces[place]) - 1 for single in singulars(pieces[place])):
        return "things"
    return "substance" if "".join(pieces[max(0, place - 2) : place]) == "of " else "thing"


def is_ordinary(word: str) -> bool:
    """Whether a capitalised word is known as a word of English rather than as a name."""
    return zipf(word) > COINAGE_ZIPF and englishness(word) > 1.4


def is_coinage(word: str) -> bool:
    """Whether ordinary English hardly knows a word, and knows it no better than other languages do."""
    if word in lists.LISTED or zipf(word) >= lists.RARE_ZIPF:
        return False
    return zipf(word) < COINAGE_ZIPF or englishness(word) <= 1.0


def phrase_kind(run: str) -> str:
    if " and the " in run:
        return "work"
    head = WORD.findall(run.split(" of ")[0])[-1].lower()
    if head in lists.ORGANISATION_HEADS:
        return "organisation"
    return "place" if head in lists.PLACE_HEADS else "thing"
