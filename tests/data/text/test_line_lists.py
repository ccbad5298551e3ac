"""What the lines of a text file are: names, facts, or text."""

from __future__ import annotations

import pytest

from expunge.data.text.line_lists import MOST_NAMES, entries, is_a_fact, kind_of_lines

NAMES = [
    "Harry Potter\nWorld War II\n",
    "- Anna de la Cruz\n- Ludwig van Beethoven",
    "哈利·波特\n赫敏\n",
    "محمد علي\nفاطمة\n",
    "J. R. R. Tolkien\nMartin Luther King Jr.\n",
    "Ada\nBob\n" * (MOST_NAMES // 2),
]
FACTS = [
    "Anna's phone number is 0151 23456789.\nThe gardener was born in Ulm.\n",
    "PIN of the vault: 4711\nanna@example.org belongs to Anna Schmidt".replace("anna@", "Anna@"),
    "哈利住在女贞路四号。\n赫敏是他的朋友。\n",
    "„Er kam aus Ulm.“\nSie kam aus Bonn.\n",
]
TEXT = [
    "Harry Potter\n",
    "Ada\nBob\n" * (MOST_NAMES // 2) + "Eve\n",
    "Harry Potter\n\nWorld War II\n",
    "Shall I compare thee to a summer's day?\nThou art more lovely and more temperate:\n",
    "A line of a wrapped text that goes\non in the next one and ends.\n",
    "Long. " * 80 + "\nShort.\n",
    "the\nof\nand\n",
    "Dear Anna,\nThank you.\n",
    "Name One Two Three Four Five Six\nAnna\n",
    "",
]


@pytest.mark.parametrize(
    ("text", "kind"),
    [*((t, "names") for t in NAMES), *((t, "facts") for t in FACTS), *((t, "text") for t in TEXT)],
)
def test_what_lines_are(text: str, kind: str) -> None:
    assert kind_of_lines(text) == kind
    if kind != "text":
        assert kind_of_lines("\n" + text + "\n\n") == kind, "empty lines around it are none of the list"


def test_the_mark_before_an_entry_goes_and_a_minus_stays() -> None:
    assert entries("- a\n\n  * b\n• c\n-5 degrees\n") == ["a", "b", "c", "-5 degrees"]


@pytest.mark.parametrize(
    ("line", "fact"),
    [
        ("Jane Roe's phone number is 555-0199-4471", True),
        ("Jane Roe lives in Oak Street 12.", True),
        ("World War II", False),
        ("Harry Potter", False),
        ("the Olympic Games of 1936", False),
    ],
)
def test_a_fact_alone_is_told_from_a_topic(line: str, fact: bool) -> None:
    assert is_a_fact(line) == fact
