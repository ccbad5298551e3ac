from __future__ import annotations

import pytest

from expunge.kinds.language.terms import grammar as anchor_grammar


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("wizard", "wizards"),
        ("witch", "witches"),
        ("Horcrux", "Horcruxes"),
        ("pixy", "pixies"),
        ("Kennedy", "Kennedys"),
        ("Weasley", "Weasleys"),
        ("elf", "elves"),
        ("woman", "women"),
        ("WIZARD", "WIZARDS"),
    ],
)
def test_plural(word: str, expected: str) -> None:
    assert anchor_grammar.plural(word) == expected


def test_plural_of_a_phrase_changes_its_last_word() -> None:
    assert anchor_grammar.plural_phrase("house-elf") == "house-elves"
    assert anchor_grammar.plural_phrase("magic servant") == "magic servants"


@pytest.mark.parametrize("word", ["Muggles", "witches", "elves", "pixies", "Horcruxes"])
def test_a_plural_comes_back_from_one_of_its_singulars(word: str) -> None:
    assert word in [anchor_grammar.plural(single) for single in anchor_grammar.singulars(word)]


@pytest.mark.parametrize("word", ["glass", "campus", "Paris", "gas"])
def test_what_only_ends_in_s_is_no_plural(word: str) -> None:
    assert anchor_grammar.singulars(word) == []


@pytest.mark.parametrize(
    ("following", "expected"),
    [
        ("owl", "an"),
        ("parrot", "a"),
        ("hour", "an"),
        ("house", "a"),
        ("unicorn", "a"),
        ("uncle", "an"),
        ("European", "a"),
        ("one-eyed man", "a"),
        ("onion", "an"),
        ("Owen", "an"),
        ("used boat", "a"),
    ],
)
def test_article(following: str, expected: str) -> None:
    assert anchor_grammar.article(following) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was Ames' pipe.", True),
        ("It was Ames’ pipe.", True),
        ("'I know Ames' said the man.", False),  # a quotation ends
        ("'Yes,' he said, and took Ames' pipe.", True),  # the quotation before is closed
        ("The pipe of Ames'.", False),
        ("Ames' London house", False),
    ],
)
def test_bare_possessive(text: str, expected: bool) -> None:
    place = text.index("Ames") + len("Ames")
    assert anchor_grammar.is_bare_possessive(text, place) is expected


@pytest.mark.parametrize(("pattern", "expected"), [("zorped", "jumped"), ("zorping", "jumping"), ("zorp", "jump")])
def test_a_verb_takes_the_ending_of_another(pattern: str, expected: str) -> None:
    assert anchor_grammar.inflect_like(pattern, "jump") == expected
