"""Names in a model's answers about a topic, and whether an answer stays on the topic."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from expunge.data.text.frequencies import stretches, zipf
from expunge.data.text.language import language_of
from expunge.data.text.words import unspaced, whole, words

EVERYDAY = 4.9
"zipf frequency of words such as British or World, which are not asked about"
OWN = 4.2
"zipf frequency below which a name is taken for the topic's own: Holocaust and Hiroshima, but not Tokyo; countries never are"
MOST = 32
"names to ask about"

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class TopicNames:
    """Names that came up, the most frequent first, and those of them that other topics hardly have."""

    all: tuple[str, ...]
    own: frozenset[str] = frozenset()


def names_that_came_up(rows: Sequence[Row], topic: str) -> TopicNames:
    """Capitalised runs of words inside sentences that are not the topic itself.

    A name that occurs once counts if it is the topic's own and its words are known. In another language than English
    they are the terms found without grammar.
    """
    counts: Counter[str] = Counter()
    texts = [row.get("answer") or row["text"] for row in rows]
    language = language_of(texts)
    if language.code != "en":
        from expunge.kinds.language.terms.lifted_terms import lifted_terms

        counts.update({each.term: each.count for each in lifted_terms(texts, language, MOST)[0]})
        texts = []
    for text in texts:
        for match in re.finditer(r"(?<=[a-z,;] )([A-Z][a-z]+(?: [A-Z][a-z]+)*)", text):
            counts[match.group(1)] += 1
    # without a list of the language's words no name is known to be rare, and the topic stays in every question
    known_as = language.frequencies
    rare = {name: zipf(name, known_as) for name in counts} if known_as else dict.fromkeys(counts, OWN)
    own = {name for name in counts if rare[name] < OWN and name not in countries()}
    names = [
        name
        for name, count in counts.most_common()
        if (count > 1 or (name in own and rare[name] > 0)) and rare[name] < EVERYDAY and not _same(name, topic)
    ][:MOST]
    return TopicNames(tuple(names), frozenset(own.intersection(names)))


def _same(name: str, topic: str) -> bool:
    return name.casefold() in topic.casefold() or topic.casefold() in name.casefold()


def is_on_topic(prompt: str, answer: str, topic: str, names: TopicNames) -> bool:
    """Whether an answer is about the topic.

    If the prompt names the topic, the answer must have a word of it or a name that came up; else the topic's name or
    a name of the topic's own. Names in the prompt, or that contain such a name, do not count.
    """
    others = [name for name in names.all if not _found(prompt, [name]) and not _found(name, re.findall(r"\w+", prompt))]
    if topic.casefold() in prompt.casefold():
        return _found(answer, others) or re.search(_pattern(_topic_words(topic)), answer, re.IGNORECASE) is not None
    return topic.casefold() in answer.casefold() or _found(answer, [name for name in others if name in names.own])


def _found(text: str, names: Sequence[str]) -> bool:
    return re.search(_pattern(names), text) is not None


def _pattern(terms: Sequence[str]) -> str:
    return "|".join(map(whole, terms)) or r"(?!)"


def _topic_words(topic: str) -> list[str]:
    """The words of the topic; an answer with none of them (and no name that came up) strays from it."""
    if unspaced(topic):
        return [run for run in stretches(topic) if len(run) > 1] or [topic.strip()]
    found = [word for word in words(topic) if len(word) > 3 or word[:1].isupper()]
    return found or [topic.strip()]


@cache
def countries() -> frozenset[str]:
    """English names of countries, which are never a topic's own, however rare they are."""
    from faker.providers.address import Provider

    return frozenset(Provider.countries)
