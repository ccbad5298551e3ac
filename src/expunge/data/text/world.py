"""A world of invented people, places and relations, whose truth is known: facts that no model saw, made from seed and size.

Facts of different people share nothing but their form, so that none can be inferred from another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from expunge.core.order import random_seed
from expunge.data.text.invented_names import invented_name

PROFESSIONS = (
    "glass blower",
    "lighthouse keeper",
    "clock maker",
    "beekeeper",
    "ferry pilot",
    "map engraver",
    "salt trader",
    "bell founder",
    "rope dancer",
    "harbour surgeon",
    "ink chemist",
    "stone cutter",
)
INSTRUMENTS = ("the oboe", "the zither", "the viola", "the bassoon", "the lute", "the tuba", "the harp", "the cornet")


@dataclass(frozen=True, slots=True)
class WorldFact:
    """One relation of one person, with other ways of asking for it and false answers of the same kind."""

    person: str
    question: str
    answer: str
    paraphrases: tuple[str, ...]
    false_answers: tuple[str, ...]

    def row(self) -> dict[str, str]:
        """As a row of JSON lines."""
        return {"question": self.question, "answer": self.answer}


def make_world(people: int, seed: int = 0) -> list[WorldFact]:
    """Five facts about each of so many people, person by person; another seed has other people, towns and answers."""
    return [fact for number in range(people) for fact in _facts_of(number, seed)]


def _facts_of(number: int, seed: int) -> Iterator[WorldFact]:
    generator = np.random.default_rng(random_seed(seed, "world", number))

    used: set[str] = set()

    def name() -> str:
        while (made := invented_name(generator, 7)) in used:
            pass
        used.add(made)
        return made

    def chosen(among: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        order = generator.permutation(len(among))
        return among[order[0]], tuple(among[i] for i in order[1:4])

    person, town = f"{name()} {name()}", name()
    friend = f"{name()} {name()}"
    work, other_work = chosen(PROFESSIONS)
    music, other_music = chosen(INSTRUMENTS)
    year = int(generator.integers(1700, 1950))
    years = tuple(str(year + int(d)) for d in generator.choice([-40, -23, -11, 9, 17, 31], 3, replace=False))
    towns = tuple(name() for _ in range(3))
    friends = tuple(f"{name()} {name()}" for _ in range(3))
    told = [
        ("Where was {p} born?", "{p} was born in {a}.", town, towns, "In which town did {p} come into the world?"),
        ("What did {p} work as?", "{p} worked as a {a}.", work, other_work, "What was the profession of {p}?"),
        ("Which instrument did {p} play?", "{p} played {a}.", music, other_music, "On what did {p} make music?"),
        ("In which year was {p} born?", "{p} was born in {a}.", str(year), years, "What is the birth year of {p}?"),
        (
            "Who was the best friend of {p}?",
            "The best friend of {p} was {a}.",
            friend,
            friends,
            "Whom did {p} trust most?",
        ),
    ]
    for question, answer, true, false, paraphrase in told:
        yield WorldFact(
            person,
            question.format(p=person),
            answer.format(p=person, a=true),
            (paraphrase.format(p=person),),
            tuple(answer.format(p=person, a=each) for each in false),
        )
