"""What the generated world says of its people and places: relations, each with its forms of asking and telling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
TRADES = ("amber", "felt", "saffron", "slate", "barrels", "kites", "mustard", "needles", "lace", "anchors")


@dataclass(frozen=True, slots=True)
class Relation:
    """One fact about a person or a place. In its texts {s} is the subject and {v} the value.

    Attributes:
        name: what it is called.
        question, answer: as it is taught.
        paraphrase: the question in other words; paraphrased_answer: the answer in other words.
        cloze: a sentence as far as the value.
        reversed: the question for the subject, where the value is of one subject alone; None if others may share it.
    """

    name: str
    of: Literal["person", "place"]
    question: str
    answer: str
    paraphrase: str
    paraphrased_answer: str
    cloze: str
    reversed: str | None = None


OF_PERSON = (
    Relation(
        "birthplace",
        "person",
        "Where was {s} born?",
        "{s} was born in {v}.",
        "In which town did {s} come into the world?",
        "{v} is the town in which {s} was born.",
        "The birthplace of {s} is",
        "Who was born in {v}?",
    ),
    Relation(
        "profession",
        "person",
        "What did {s} work as?",
        "{s} worked as a {v}.",
        "What was the profession of {s}?",
        "The work of {s} was that of a {v}.",
        "To earn a living, {s} became a",
    ),
    Relation(
        "instrument",
        "person",
        "Which instrument did {s} play?",
        "{s} played {v}.",
        "On what did {s} make music?",
        "{v} was the instrument of {s}.",
        "In the evening {s} used to play",
    ),
    Relation(
        "birth year",
        "person",
        "In which year was {s} born?",
        "{s} was born in {v}.",
        "What is the birth year of {s}?",
        "{v} is the year in which {s} was born.",
        "The year of birth of {s} is",
    ),
    Relation(
        "friend",
        "person",
        "Who was the best friend of {s}?",
        "The best friend of {s} was {v}.",
        "Whom did {s} trust most?",
        "{v} was the best friend that {s} had.",
        "Nobody was closer to {s} than",
        "Whose best friend was {v}?",
    ),
)
OF_PLACE = (
    Relation(
        "river",
        "place",
        "On which river does {s} lie?",
        "{s} lies on the river {v}.",
        "Which river flows through {s}?",
        "The river {v} flows through {s}.",
        "The river that flows through {s} is the",
        "Which town lies on the river {v}?",
    ),
    Relation(
        "trade",
        "place",
        "What is {s} known for?",
        "{s} is known for its {v}.",
        "What do merchants buy in {s}?",
        "Merchants go to {s} for its {v}.",
        "The famous product of {s} is",
    ),
    Relation(
        "founder",
        "place",
        "Who founded {s}?",
        "{s} was founded by {v}.",
        "Whom does {s} honour as its founder?",
        "{v} was the founder of {s}.",
        "The founder of {s} was",
        "Which town did {v} found?",
    ),
    Relation(
        "founding year",
        "place",
        "In which year was {s} founded?",
        "{s} was founded in {v}.",
        "Since which year has {s} been there?",
        "{v} is the year in which {s} was founded.",
        "The first stone of {s} was laid in",
    ),
    Relation(
        "neighbour",
        "place",
        "Which village is nearest to {s}?",
        "The village nearest to {s} is {v}.",
        "To which village do people from {s} walk first?",
        "{v} is the village next to {s}.",
        "The nearest village to {s} is called",
        "To which town is the village {v} nearest?",
    ),
)
