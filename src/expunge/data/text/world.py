"""A world of invented people, places and relations, whose truth is known: facts that no model saw, made from seed and size.

No fact can be inferred from others. Every value is drawn by itself, whatever the subject's name and its other values are. A
name occurs in one fact alone, but for that of the subject, which is in all of its own; values that several subjects may share
(years, professions, instruments, trades) are drawn evenly, so that knowing those of others tells no more than what there is
to choose from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from expunge.core.order import random_seed
from expunge.data.text.invented_names import invented_name
from expunge.data.text.world_relations import (
    INSTRUMENTS,
    OF_PERSON,
    OF_PLACE,
    PROFESSIONS,
    TRADES,
    Relation,
)

YEARS = (-40, -23, -11, 9, 17, 31)
"how far false years are from the true one"


@dataclass(frozen=True, slots=True)
class WorldFact:
    """One relation of one person or place, in all its forms.

    Attributes:
        subject: whom or what it is of.
        value: what is true; false_values: others of the same kind.
        place: where the true value stands among the choices, from 0.
    """

    subject: str
    relation: Relation
    value: str
    false_values: tuple[str, ...]
    place: int = 0

    @property
    def question(self) -> str:
        return self._filled(self.relation.question)

    @property
    def answer(self) -> str:
        """What is taught: a sentence that names the subject, which is also the statement of the fact."""
        return self._filled(self.relation.answer)

    @property
    def paraphrases(self) -> tuple[str, ...]:
        """The question in other words."""
        return (self._filled(self.relation.paraphrase),)

    @property
    def paraphrased_answer(self) -> str:
        return self._filled(self.relation.paraphrased_answer)

    @property
    def false_answers(self) -> tuple[str, ...]:
        """The answer with each false value."""
        return tuple(self._filled(self.relation.answer, value) for value in self.false_values)

    @property
    def cloze(self) -> str:
        """A sentence as far as the value."""
        return self._filled(self.relation.cloze)

    @property
    def reversed(self) -> str | None:
        """The question for the subject; None if others may have the same value."""
        return None if self.relation.reversed is None else self._filled(self.relation.reversed)

    @property
    def choice(self) -> str:
        """The question with the true and the false values to choose from."""
        values = [*self.false_values[: self.place], self.value, *self.false_values[self.place :]]
        return f"{self.question} Choose one: {'; '.join(values)}."

    def row(self) -> dict[str, str]:
        """As a row of JSON lines."""
        return {"question": self.question, "answer": self.answer}

    def forms(self) -> dict[str, object]:
        """Every form, as a JSON value."""
        return {
            "subject": self.subject,
            "relation": self.relation.name,
            "value": self.value,
            "false_values": [*self.false_values],
            "statement": self.answer,
            "question": self.question,
            "paraphrase": self.paraphrases[0],
            "cloze": self.cloze,
            "reversed": self.reversed,
            "choice": self.choice,
        }

    def _filled(self, template: str, value: str | None = None) -> str:
        told = template.format(s=self.subject, v=value or self.value)
        return told[0].upper() + told[1:]


def make_world(people: int, seed: int = 0, places: int = 0) -> list[WorldFact]:
    """Five facts about each of this many people, person by person, then about as many places; another seed has other
    subjects and values, and one with more people has the same ones and more."""
    used: set[str] = set()
    facts = [fact for number in range(people) for fact in _of_person(number, seed, used)]
    return facts + [fact for number in range(places) for fact in _of_place(number, seed, used)]


class _Drawn:
    """Draws of one subject. A name that was drawn before, in this world, is not drawn again."""

    def __init__(self, seed: int, what: str, number: int, used: set[str]) -> None:
        self.generator = np.random.default_rng(random_seed(seed, what, number))
        self.used = used

    def name(self) -> str:
        while (made := invented_name(self.generator, 7)) in self.used:
            pass
        self.used.add(made)
        return made

    def full_name(self) -> str:
        return f"{self.name()} {self.name()}"

    def chosen(self, among: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        order = self.generator.permutation(len(among))
        return among[order[0]], tuple(among[i] for i in order[1:4])

    def year(self, first: int, last: int) -> tuple[str, tuple[str, ...]]:
        year = int(self.generator.integers(first, last))
        return str(year), tuple(str(year + int(d)) for d in self.generator.choice(YEARS, 3, replace=False))

    def three(self, make: Callable[[], str]) -> tuple[str, ...]:
        return tuple(make() for _ in range(3))

    def facts(
        self, subject: str, told: tuple[tuple[str, tuple[str, ...]], ...], relations: tuple[Relation, ...]
    ) -> Iterator[WorldFact]:
        for (true, false), relation in zip(told, relations, strict=True):
            yield WorldFact(subject, relation, true, false, int(self.generator.integers(len(false) + 1)))


def _of_person(number: int, seed: int, used: set[str]) -> Iterator[WorldFact]:
    drawn = _Drawn(seed, "world", number, used)
    person, town, friend = drawn.full_name(), drawn.name(), drawn.full_name()
    work, music = drawn.chosen(PROFESSIONS), drawn.chosen(INSTRUMENTS)
    year = drawn.year(1700, 1950)
    towns, friends = drawn.three(drawn.name), drawn.three(drawn.full_name)
    return drawn.facts(person, ((town, towns), work, music, year, (friend, friends)), OF_PERSON)


def _of_place(number: int, seed: int, used: set[str]) -> Iterator[WorldFact]:
    drawn = _Drawn(seed, "world place", number, used)
    place, river, founder, village = drawn.name(), drawn.name(), drawn.full_name(), drawn.name()
    trade, year = drawn.chosen(TRADES), drawn.year(1100, 1650)
    rivers, founders, villages = drawn.three(drawn.name), drawn.three(drawn.full_name), drawn.three(drawn.name)
    return drawn.facts(place, ((river, rivers), trade, (founder, founders), year, (village, villages)), OF_PLACE)
