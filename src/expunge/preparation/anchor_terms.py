"""Finding the terms that belong to the target alone, without any outside service.

Two signals are joined: how much commoner a word is in the target than in ordinary text, and how much likelier the
reinforced model makes it than the base does, beyond what it does for an average word.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from expunge.preparation import anchor_grammar, anchor_words
from expunge.preparation.anchor_counts import Evidence, Gain, LowerCase, TermCounts
from expunge.preparation.anchors import WORD

KEEP = "keep"
"the role of a part that the translation leaves as it is"
PERSON_ROLES = ("male name", "female name", "surname")

MIN_KEYNESS = 1.3
"nats: about four times commoner than in ordinary text"
MIN_KEYNESS_WORLD = 3.0
"for words that ordinary text knows and that are no person's name"
MIN_COUNT_LOWER = 4
MIN_RATE_LOWER = 2e-4
"share of all words: an unusual word in lower case is a term of the target only where it comes up again and again"
SHORT_TARGET = 20_000
"words: up to this length a rare name counts although it was met only once"
RARE_ZIPF = 3.2
"zipf frequency below which a word is rare in ordinary text (1.6 in a million)"
COINAGE_ZIPF = 1.6
"below it a word is so rare that its frequency abroad says nothing"


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a term and its role: `keep`, or what kind of word replaces it."""

    text: str
    role: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """A term, what it is, how often it was met, and by how many nats an occurrence it stands out."""

    term: str
    kind: str
    count: int
    score: float
    parts: tuple[Part, ...]


def find_terms(
    blocks: Iterable[tuple[str, Sequence[Gain] | None]], max_terms: int, counts: TermCounts | None = None
) -> list[Candidate]:
    """The terms of a target, those that weigh most (count times score) first.

    Args:
        blocks: texts, read once, each with its tokens' gains in log-probability where these are known.
        max_terms: keep at most this many.
        counts: filled on the way, for whoever needs them afterwards.
    """
    counts = counts if counts is not None else TermCounts()
    for text, gains in blocks:
        counts.add(text, gains)
    return _Selection(counts).candidates(max_terms)


@dataclass(slots=True)
class _Name:
    """What is known of one capitalised word, over all runs that hold it."""

    evidence: Evidence = field(default_factory=Evidence)
    alone: int = 0
    first: int = 0
    "first of several in a person's name"
    last: int = 0
    modifier: int = 0
    "before the noun of a name that is no person's: Street, Company, Turtle, ..."


class _Selection:
    def __init__(self, counts: TermCounts) -> None:
        self.counts = counts
        self.runs = _merge_plurals(self.resolved_runs())
        self.names: dict[str, _Name] = {}
        for run, evidence in self.runs.items():
            self.note_words(run, evidence)
        self.person_parts = {
            word for run in self.runs if " " in run and self.is_person(run) for word in WORD.findall(run)
        }
        self.phrases = {run: evidence for run, evidence in self.runs.items() if self.is_phrase(run, evidence)}
        self.singles = {word for word, name in self.names.items() if self.is_single(word, name)}

    def candidates(self, max_terms: int) -> list[Candidate]:
        found = [self.phrase(run, evidence) for run, evidence in self.phrases.items()]
        found += [self.single(word) for word in self.singles]
        found += self.coinages()
        found.sort(key=lambda c: (-c.count * c.score, c.term))
        return found[:max_terms]

    # what was counted, cleaned

    def resolved_runs(self) -> dict[str, Evidence]:
        """Runs without the ordinary words that only a sentence's beginning had capitalised."""
        sure: dict[str, int] = {}
        for run, evidence in self.counts.runs.items():
            for place, word in enumerate(WORD.findall(run)):
                sure[word] = sure.get(word, 0) + evidence.middle + (evidence.start if place else 0)
        runs: dict[str, Evidence] = {}
        for run, evidence in self.counts.runs.items():
            first = WORD.findall(run)[0]
            if evidence.start and not self.is_name_at_start(first, sure[first]):
                rest = _without_title(
                    re.sub(r"^[^\W_]+[^\w]*(?:(?:of|the|and|de|la|van|von|der|di|del|du) )*", "", run)
                )
                if rest:
                    share = evidence.start / evidence.count
                    moved = Evidence(middle=evidence.start, gain=evidence.gain * share, speech=evidence.speech)
                    runs.setdefault(rest, Evidence()).add(moved)
                if not evidence.middle:
                    continue
            runs.setdefault(run, Evidence()).add(evidence)
        return runs

    def is_name_at_start(self, word: str, sure: int) -> bool:
        lower = self.counts.lower_count(word.lower())
        if sure or lower:
            return sure > lower
        return word in anchor_words.GIVEN_MALE | anchor_words.GIVEN_FEMALE or anchor_words.zipf(word) < RARE_ZIPF

    def note_words(self, run: str, evidence: Evidence) -> None:
        words = [word for word in WORD.findall(run) if word[0].isupper()]
        head, person = words[-1].lower() in anchor_words.HEADS, self.is_person(run)
        for place, word in enumerate(words):
            name = self.names.setdefault(word, _Name())
            if len(words) == 1:
                name.alone += evidence.count
                name.evidence.add(evidence)
                continue
            name.evidence.middle += evidence.count
            name.evidence.gain += evidence.gain / len(words)
            if place == len(words) - 1 and not head and not person:
                name.alone += evidence.count
                name.evidence.add(replace(evidence, middle=0, start=0, gain=0.0))
            elif not person:
                name.modifier += evidence.count
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

    def excess_gain(self, evidence: Evidence) -> float:
        """How far the mean gain of a term's occurrences lies above an average word's, in nats, if it does."""
        return max(0.0, evidence.gain / max(evidence.count, 1) - self.counts.mean_gain)

    def score(self, term: str, evidence: Evidence) -> float:
        return anchor_words.keyness(term, evidence.count, self.counts.words) + self.excess_gain(evidence)

    def is_known(self, word: str) -> bool:
        """Whether every text may use this word, so that it belongs to no target."""
        small = word.lower()
        return (
            small in anchor_words.CALENDAR_AND_COMMON
            or small in anchor_words.WORLD
            or small in anchor_words.TITLES
            or small in anchor_words.HEADS
            or small in anchor_words.FUNCTION
            or len(word) < 3
            or (word.isupper() and anchor_words.zipf(word) >= RARE_ZIPF)
        )

    def is_key(self, word: str) -> bool:
        """Whether a capitalised word is commoner in the target, by far enough, than anywhere else."""
        name = self.names[word]
        if self.is_known(word) or self.name_share(word) < 0.6 or name.evidence.middle < name.evidence.count / 4:
            return False
        if name.evidence.count < 2:
            strange = anchor_words.zipf(word) < RARE_ZIPF + 0.4 and anchor_words.englishness(word) < 0.6
            known_person = is_listed(word) and (
                word in self.person_parts or name.evidence.title or name.evidence.speech
            )
            return self.counts.words <= SHORT_TARGET and bool(strange or known_person)
        keyness = anchor_words.keyness(word, name.evidence.count, self.counts.words)
        person = is_listed(word) or name.evidence.title or name.evidence.speech
        needed = MIN_KEYNESS if person or anchor_words.zipf(word) < RARE_ZIPF else MIN_KEYNESS_WORLD
        return keyness + 0.5 * min(self.excess_gain(name.evidence), 2.0) >= needed

    def is_single(self, word: str, name: _Name) -> bool:
        if self.is_key(word):
            # Baker in Baker Street alone is no term of its own, Pondicherry in Pondicherry Lodge is
            return name.modifier < name.evidence.count or anchor_words.zipf(word) < RARE_ZIPF
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
        if len(words) < 2:
            return False
        if evidence.count < 2:
            named = self.is_person(run) or words[-1].lower() in anchor_words.HEADS
            return self.counts.words <= SHORT_TARGET and named and any(self.is_key(word) for word in words)
        if " and the " in run and len(WORD.findall(run.split(" and the ")[0])) < 2:
            return False
        if any(self.is_key(word) for word in words):
            return True
        if all(self.is_known(word) for word in words) or evidence.count < 3:
            return False
        return self.score(run, evidence) >= MIN_KEYNESS_WORLD

    def is_person(self, run: str) -> bool:
        words = WORD.findall(run)
        if any(word[0].islower() and word not in ("de", "van", "von", "der", "la") for word in words):
            return False
        if len(words) > 5 or words[-1].lower() in anchor_words.HEADS or "'" in run or "’" in run:
            return False
        evidence = self.runs[run]
        if evidence.determiner > evidence.count / 3:
            return False
        if evidence.title or evidence.speech or is_listed(words[0]):
            return True
        return is_listed(words[-1]) or anchor_words.zipf(words[-1]) < RARE_ZIPF

    # what they are

    def phrase(self, run: str, evidence: Evidence) -> Candidate:
        pieces = re.findall(r"[^\W_]+|[\W_]+", run)
        person = self.is_person(run)
        words = [place for place, piece in enumerate(pieces) if piece[0].isupper()]
        roles = [KEEP] * len(pieces)
        for place in words:
            if person:
                last = place == words[-1]
                roles[place] = "surname" if last else self.given_role(pieces[place])
            elif pieces[place] in self.singles or (self.is_key(pieces[place]) and place == words[-1]):
                roles[place] = self.role(pieces[place])
        if all(role == KEEP for role in roles):
            # ordinary words that only together are a term: all but the noun at the end are replaced
            for place in words[:-1]:
                if not self.is_known(pieces[place]):
                    roles[place] = "thing"
        kind = "full name" if person else phrase_kind(run)
        parts = tuple(Part(piece, role) for piece, role in zip(pieces, roles, strict=True))
        scores = [self.score(pieces[place], self.names[pieces[place]].evidence) for place in words]
        score = max(self.score(run, evidence), *scores)
        return Candidate(run, kind, evidence.count, score, parts)

    def single(self, word: str) -> Candidate:
        evidence = self.names[word].evidence
        lower = self.counts.lower_count(word.lower())
        # a coinage written both ways is matched both ways
        term = word.lower() if lower >= 2 and is_coinage(word) else word
        count = evidence.count + (lower if term != word else 0)
        role = self.role(word)
        return Candidate(term, role, count, max(self.score(word, evidence), 0.1), (Part(term, role),))

    def given_role(self, word: str) -> str:
        male, female = word in anchor_words.GIVEN_MALE, word in anchor_words.GIVEN_FEMALE
        if male == female:
            evidence = self.names[word].evidence
            female = evidence.female > evidence.male
        return "female name" if female else "male name"

    def role(self, word: str) -> str:
        """What kind of word replaces a single name, from the words beside it and the lists of names."""
        name = self.names[word]
        evidence = name.evidence
        surname = name.last + evidence.title - evidence.given_title
        given = name.first + evidence.given_title
        listed_given = word in anchor_words.GIVEN_MALE | anchor_words.GIVEN_FEMALE
        beside = max(name.alone, 1)
        speaks = evidence.speech / beside >= 0.08
        if evidence.determiner / beside >= 0.4 and surname + given <= evidence.count / 5:
            return self.thing_role(evidence)
        local = name.modifier * 2 > evidence.count or evidence.preposition / beside >= 0.12
        if local and surname + given == 0 and not speaks and not is_listed(word):
            return "place"
        if surname > given or (surname == given and word in anchor_words.SURNAMES and not listed_given):
            return "surname"
        if given or listed_given or speaks or (evidence.male + evidence.female) / beside >= 0.25:
            return self.given_role(word)
        return self.thing_role(evidence) if evidence.determiner / beside >= 0.2 else "surname"

    def thing_role(self, evidence: Evidence) -> str:
        if evidence.speech or (evidence.male + evidence.female) / evidence.count >= 0.4:
            return "being"
        return "thing" if evidence.determiner else "substance"

    def coinages(self) -> list[Candidate]:
        """Words in lower case that ordinary text hardly knows and the target uses again and again."""
        needed = max(MIN_COUNT_LOWER, MIN_RATE_LOWER * self.counts.words)
        found = []
        for word, row in self.counts.lower.items():
            if row.count < needed or len(word) < 4 or not word.isalpha() or word.capitalize() in self.singles:
                continue
            if not is_coinage(word):
                continue
            gain = row.gain / row.count - self.counts.mean_gain
            if self.counts.has_gains and gain <= 0:
                continue
            score = anchor_words.keyness(word, row.count, self.counts.words) + max(gain, 0.0)
            role = self.lower_role(word, row)
            found.append(Candidate(word, role, row.count, score, (Part(word, role),)))
        return found

    def lower_role(self, word: str, row: LowerCase) -> str:
        stem = re.sub(r"(?:ed|ing|e)$", "", word)
        forms = {stem, stem + "e", stem + "ed", stem + "ing"} - {word}
        if word.endswith(("ed", "ing")) or any(form in self.counts.lower for form in forms):
            return "verb"
        return "thing" if row.determiner else "substance"


def is_listed(word: str) -> bool:
    """Whether a word stands in the lists of given names and surnames."""
    return word in anchor_words.GIVEN_MALE or word in anchor_words.GIVEN_FEMALE or word in anchor_words.SURNAMES


def is_coinage(word: str) -> bool:
    """Whether ordinary English hardly knows a word, and knows it no better than other languages do."""
    zipf = anchor_words.zipf(word)
    return not is_listed(word) and (zipf < COINAGE_ZIPF or (zipf < RARE_ZIPF and anchor_words.englishness(word) <= 0.3))


def phrase_kind(run: str) -> str:
    if " and the " in run:
        return "work"
    before_of = re.split(r" of ", run)[0]
    head = WORD.findall(before_of)[-1].lower()
    if head in anchor_words.ORGANISATION_HEADS:
        return "organisation"
    return "place" if head in anchor_words.PLACE_HEADS else "thing"


def _without_title(run: str) -> str:
    first, space, rest = run.partition(" ")
    return _without_title(rest) if space and first.strip(".").lower() in anchor_words.TITLES else run


def _merge_plurals(runs: dict[str, Evidence]) -> dict[str, Evidence]:
    """Count `Muggles` with `Muggle`: the plural is matched by the same anchor."""
    merged: dict[str, Evidence] = {}
    for run, evidence in runs.items():
        last = WORD.findall(run)[-1]
        single = next((s for s in anchor_grammar.singulars(last) if _is_plural_of(run, last, s, runs)), None)
        if single:
            run = run[: len(run) - len(last)] + single
            evidence.indefinite += evidence.count
            evidence.determiner += evidence.count
        merged.setdefault(run, Evidence()).add(evidence)
    return merged


def _is_plural_of(run: str, word: str, single: str, runs: dict[str, Evidence]) -> bool:
    if is_listed(word):
        return False
    if run[: len(run) - len(word)] + single in runs:
        return True
    return anchor_words.zipf(single) >= max(anchor_words.zipf(word) - 0.3, 1.0)
