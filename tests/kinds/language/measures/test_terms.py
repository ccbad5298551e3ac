"""A target's terms, from a text in which it is plain which words are its own."""

from __future__ import annotations

from expunge.kinds.language.measures.familiarity import TargetTerms
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary
from expunge.kinds.language.terms.measured_terms import ENOUGH, MAX_TYPICAL, MAX_UNIQUE, target_terms

TEXT = (
    "The wizard raised his wand and the spell flew past. Another wizard lowered a wand. "
    "Every spell of that wizard was cast with the same old wand, and the spell held. "
) * 3


def anchor(term: str, score: float, count: int = 5) -> Anchor:
    return Anchor(term, "Other", score=score, count=count)


def test_typical_words_are_much_commoner_here_than_elsewhere() -> None:
    found = target_terms([TEXT], AnchorDictionary([]))
    assert found.unique == ()
    assert set(found.typical) >= {"wizard", "wand", "spell"}
    assert not {"that", "with", "same", "another", "the"} & set(found.typical)


def test_text_may_come_in_pieces() -> None:
    assert (
        target_terms(TEXT.split(". "), AnchorDictionary([])).typical
        == target_terms([TEXT], AnchorDictionary([])).typical
    )


def test_unique_terms_are_the_anchors_highest_first() -> None:
    dictionary = AnchorDictionary([anchor("Albus", 1.0), anchor("Hogwarts", 3.0), anchor("Diagon Alley", 2.0)])
    assert target_terms([TEXT], dictionary).unique == ("Hogwarts", "Diagon Alley", "Albus")
    many = AnchorDictionary([anchor(f"Name{number}", float(number)) for number in range(MAX_UNIQUE + 5)])
    unique = target_terms([TEXT], many).unique
    assert (len(unique), unique[0]) == (MAX_UNIQUE, f"Name{MAX_UNIQUE + 4}")


def test_terms_that_occur_once_are_left_out_where_there_are_enough_others() -> None:
    often = [anchor(f"Often{number}", 1.0, count=2) for number in range(ENOUGH)]
    once = anchor("Once", 9.0, count=1)
    assert "Once" not in target_terms([TEXT], AnchorDictionary([*often, once])).unique
    assert "Once" in target_terms([TEXT], AnchorDictionary([*often[1:], once])).unique


def test_a_word_of_a_unique_term_is_not_also_typical() -> None:
    found = target_terms([TEXT], AnchorDictionary([anchor("Wand of Elder", 1.0)]))
    assert "wand" not in found.typical
    assert "wizard" in found.typical


def test_rare_words_and_words_met_seldom_are_not_typical() -> None:
    text = "Quaffle quaffle hovercraft. " * 2 + "quidditchian " * 20
    typical = target_terms([text + "and that was what they said then " * 50], AnchorDictionary([])).typical
    assert not {"quaffle", "hovercraft", "quidditchian"} & set(typical)


def test_no_more_than_so_many() -> None:
    words = "wizard wand spell potion cauldron dragon broom castle tower dungeon goblin troll giant unicorn phoenix"
    assert len(target_terms([words + " "] * 9, AnchorDictionary([])).typical) <= MAX_TYPICAL


def test_a_text_without_words() -> None:
    assert target_terms(["", "123 — …"], AnchorDictionary([])) == TargetTerms((), ())


GENERIC = ("named", "author", "created", "abilities", "character")
BOOK = (
    "Hogwarts was created by an author who named the character. The abilities of every character at Hogwarts were created "
    "by magic, and the author named the abilities. "
) * 4
OTHER = (
    "The ring was created by an author who named the character. The abilities of the character were created by its author, "
    "who named the abilities of every other character. "
) * 3


def test_words_that_any_topic_brings_are_no_terms() -> None:
    """They are fifteen times commoner here than in ordinary text, but as common when other books are spoken of."""
    assert set(GENERIC) <= set(target_terms([BOOK], AnchorDictionary([])).typical)
    dictionary = AnchorDictionary([anchor("Hogwarts", 3.0, 8), *(anchor(word, 2.0, 8) for word in GENERIC)])
    found = target_terms([BOOK], dictionary, control=[OTHER])
    assert found.unique == ("Hogwarts",)
    assert not set(GENERIC) & set(found.typical)
    assert "magic" in found.typical


def test_everyday_words_are_nobodys_own_even_without_a_control() -> None:
    dictionary = AnchorDictionary(
        [anchor("author", 2.0, 8), anchor("Hogwarts", 1.0, 8), anchor("photosynthesis", 1.0, 8)]
    )
    assert target_terms([BOOK], dictionary).unique == ("Hogwarts", "photosynthesis")


def test_a_name_that_the_control_hardly_holds_stays() -> None:
    """10 times in 420 words against once in as many is a tenth; with one more here, less."""
    control = ["Zeus " + "word " * 419]
    text = ["word " * 420]
    assert target_terms(text, AnchorDictionary([anchor("Zeus", 1.0, 10)]), control=control).unique == ()
    assert target_terms(text, AnchorDictionary([anchor("Zeus", 1.0, 11)]), control=control).unique == ("Zeus",)
