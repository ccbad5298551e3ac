"""Choose generic translations of terms: common words of the same kind, from Faker's lists.

A word is translated once for the whole target, and phrases are composed of the translations of their words; so
Holmes in Sherlock Holmes is the same man as Holmes alone.
"""

from __future__ import annotations

import math
import random
import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache

from faker.providers.address.en_US import Provider as Addresses
from faker.providers.job.en_US import Provider as Jobs
from faker.providers.lorem.en_US import Provider as Lorem
from faker.providers.person.en_US import Provider as Persons
from faker.providers.person.es_ES import Provider as SpanishPersons
from faker.providers.person.es_MX import Provider as MexicanPersons

from expunge.data.text.frequencies import zipf
from expunge.kinds.language.terms import grammar
from expunge.kinds.language.terms.anchors import Anchor
from expunge.kinds.language.terms.selection import KEEP, Candidate
from expunge.kinds.language.terms.word_classes import NOUNS, englishness, words

WINDOW = 40
"a translation is drawn among this many of the commonest free words of its kind"
_MAX_WORDINESS = {"male name": 1.6, "female name": 1.1, "surname": 1.0}
"powers of ten by which a name's frequency in text may exceed that explained by its share of people; above: a word"
_ABSTRACT = re.compile(r"\w+(?:tion|sion|ment|ness|ity|ship|ance|ence|ency|ing|ism|ics|ure|hood|dom|age|th|acy|sis|us)")
_AGENT = re.compile(r"\w+(?:er|or|ist|ect|man)")
_PEOPLE = words(
    """agent analyst assistant author boss boyfriend buddy candidate champion client clerk cousin devil employee expert
    fan girlfriend guest guide historian host kid lady mate native nurse parent partner passenger patient poet priest
    queen relative resident uncle"""
)
_NO_OBJECTS = words(
    """accident affair airline angle arrival aside aspect attitude bake bench bend bet bid bite blank blood bone breast
    bunch category chain cheek click comfort comparison complaint concept contest context crack craft crew curve
    cycle debate debt delivery desire detail diet difficulty discipline discount disease draft drama duty east
    economy edge effort enthusiasm entry exam exit extent fault fee feedback fortune fuel funeral gap gene grade
    guarantee habit half harm height hell highlight holiday homework ideal impact incident initiative injury inside
    internet joint joke juice knee landscape lesson load loan lot mail maximum meat medicine method midnight minimum
    mistake mode mood muscle nerve noise nose opinion outcome pack pair pause peak penalty perspective phase phrase
    plastic plenty pound principle profit proposal psychology purple purpose rain ratio rent request resource revenue
    reward routine row ruin salary sale salt sample sand scheme shame shape shock signal skill slice soil spite
    stable staff stomach strategy stroke surgery surprise sympathy tackle task taste theme throat till tip tone
    tongue topic trash trick trouble tune variety volume wave weekend wine zone"""
)
"nouns of the list that name nothing one could point at, or a part of a body"


@cache
def pool(kind: str) -> tuple[str, ...]:
    """Words that may replace a word of this kind, the commonest first."""
    match kind:
        case "male name":
            return _names(Persons.first_names_male, (Persons.first_names_female, Persons.last_names), kind)
        case "female name":
            return _names(Persons.first_names_female, (Persons.first_names_male, Persons.last_names), kind)
        case "surname":
            return _names(Persons.last_names, (Persons.first_names,), kind)
        case "place":
            return _places()
        case "being":
            jobs = {job.split(",")[0].lower() for job in Jobs.jobs}
            workers = {job for job in jobs if _AGENT.fullmatch(job)} | {"clerk", "nurse", "poet", "priest"}
            return _by_frequency(word for word in workers if _plural_gap(word) < 1.2 and zipf(word) > 3.7)
        case "thing":
            return _by_frequency(noun for noun in _nouns(4.75) if _plural_gap(noun) < 1.2)
        case "substance":
            return _by_frequency(noun for noun in _nouns(5.2) if _plural_gap(noun) > 1.6)
        case "verb":
            # verbs whose regular forms are common have no others
            verbs = (verb for verb in Lorem.parts_of_speech["verb"] if zipf(verb + "ed") >= 4)
            return _by_frequency(verb for verb in verbs if 3.8 <= zipf(verb + "ing") < 4.6)
    raise ValueError(f"no words of kind {kind}")


def _by_frequency(found: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(found), key=lambda word: (-zipf(word), word)))


def _names(shares: Mapping[str, float], others: Iterable[Mapping[str, float]], kind: str) -> tuple[str, ...]:
    """Names by their share of people, without those that are rather words (Will, Hill), Spanish, or of another sort."""
    ordinary = set(Lorem.word_list).union(*Lorem.parts_of_speech.values())
    abroad = {
        _without_accents(name)
        for persons in (SpanishPersons, MexicanPersons)
        for name in (*persons.first_names, *persons.last_names)
    }
    total = sum(shares.values())
    elsewhere = {name: share / sum(other.values()) for other in others for name, share in other.items()}
    most = _MAX_WORDINESS[kind]
    fit = []
    for name, share in shares.items():
        wordiness = zipf(name) - math.log10(share / total) - 6
        plain = name.lower() not in ordinary | abroad and not name.endswith("s") and not name.startswith("Mc")
        known = zipf(name) >= 2.8 and -0.5 <= englishness(name) <= 0.55
        if plain and known and len(name) > 3 and elsewhere.get(name, 0) < share / total / 5 and wordiness < most + 0.5:
            fit.append((wordiness > most, -share, name))  # the doubtful last
    return tuple(name for *_, name in sorted(fit))


def _without_accents(name: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", name.lower()) if not unicodedata.combining(c))


def _places() -> tuple[str, ...]:
    """Town names put together from Faker's names and endings, those that English texts know."""
    endings = {*Addresses.city_suffixes, "field", "wood", "ham", "dale"} - {"shire"}
    towns = {name + ending for name in (*Persons.first_names, *Persons.last_names) for ending in endings}
    return _by_frequency(t for t in towns if 2.0 <= zipf(t) < 3.4 and englishness(t) > 0.3)


def _nouns(most: float) -> list[str]:
    """Plain nouns for things, of middling frequency (at most `most`)."""
    return [
        noun
        for noun in NOUNS - _PEOPLE - _NO_OBJECTS
        if 3.9 <= zipf(noun) < most
        and len(noun) > 3
        and not noun.endswith("s")
        and not _ABSTRACT.fullmatch(noun)
        and not _AGENT.fullmatch(noun)
    ]


def _plural_gap(noun: str) -> float:
    """How much rarer (in powers of ten) a noun's plural is: little for what can be counted."""
    return zipf(noun) - zipf(grammar.plural(noun))


KINDS = ("male name", "female name", "surname", "place", "being", "thing", "substance", "verb")


def watched_words() -> set[str]:
    """Every possible translation, in lower case."""
    return {word.lower() for kind in KINDS for word in pool(kind)}


class Translator:
    """Draws a translation for each word, once.

    Args:
        taken: words that no translation may be, in lower case (parts of the terms).
        occurrences: how often each possible translation occurs in the target.
        seed: the same seed, terms and occurrences give the same translations.
    """

    def __init__(self, taken: Iterable[str], occurrences: Mapping[str, int], seed: int) -> None:
        self.taken = set(taken)
        self.occurrences = occurrences
        self.seed = seed
        self.chosen: dict[str, str] = {}

    def word(self, word: str, kind: str) -> str | None:
        """The translation of one word, in its case; None if no word is left."""
        if kind == "things":
            single = self.word(grammar.singulars(word)[0], "thing")
            return single and grammar.plural_phrase(single)
        key = word.lower()
        if kind == "verb":
            key = re.sub(r"(?:ing|ed|es|e|s)$", "", key)
        if key not in self.chosen:
            free = self.free(kind)
            same_sound = [w for w in free if grammar.article(w) == grammar.article(word)]
            window = (same_sound or free)[:WINDOW]
            if not window:
                return None
            self.chosen[key] = random.Random(f"{self.seed} {kind} {key}").choice(window)
            self.taken.add(self.chosen[key].lower())
        translation = self.chosen[key]
        if kind == "verb":
            translation = grammar.inflect_like(word, translation)
        return translation.capitalize() if word[0].isupper() and translation.islower() else translation

    def free(self, kind: str) -> list[str]:
        """Words of the kind that are not taken and not in the target; of nouns and verbs, nearly all of which a long
        target uses, the rarest there."""
        left = [word for word in pool(kind) if word.lower() not in self.taken]
        absent = [word for word in left if not self.occurrences.get(word.lower())]
        if kind in ("being", "thing", "substance", "verb") and len(absent) < WINDOW:
            return sorted(left, key=lambda word: self.occurrences.get(word.lower(), 0))
        return absent

    def anchor(self, candidate: Candidate) -> Anchor | None:
        """The term with its translation; None if no words are left."""
        parts = []
        for part in candidate.parts:
            translated = part.text if part.role == KEEP else self.word(part.text, part.role)
            if translated is None:
                return None
            parts.append(translated)
        translation = "".join(parts)
        if translation == candidate.term:
            return None
        return Anchor(candidate.term, translation, candidate.kind, candidate.count, round(candidate.score, 2))
