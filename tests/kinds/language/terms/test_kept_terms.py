"""Terms weighed against the retain set."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest

from expunge.data.text.document import Document
from expunge.kinds.language.measures.familiarity import TargetTerms
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary, load_anchors, write_anchors
from expunge.kinds.language.terms.kept_terms import Rate, alone, rates, without_shared


@pytest.mark.parametrize(
    ("target", "words", "kept", "kept_words"),
    [(4, 100, 1, 100), (10, 1000, 30, 90_000), (2, 50, 9, 400), (0, 5, 7, 90)],
)
def test_chance_is_that_of_a_binomial_test(target: int, words: int, kept: int, kept_words: int) -> None:
    total, share = target + kept, Fraction(words, words + kept_words)
    ways = (math.comb(total, k) * share**k * (1 - share) ** (total - k) for k in range(target, total + 1))
    assert Rate(target, words, kept, kept_words).chance() == pytest.approx(float(sum(ways)), rel=1e-12)


@pytest.mark.parametrize(
    ("target", "words", "kept", "kept_words", "shared"),
    [
        (10, 1000, 0, 1000, False),  # nowhere in the retain set
        (10, 1000, 9, 1000, True),  # as often
        (10, 1000, 90, 10_000, True),  # as often, in ten times the text
        (10, 1000, 1, 1000, False),  # ten times as often
        (4, 1000, 1, 1000, True),  # four times as often, by chance perhaps: p = 6 / 32
        (4, 1000, 1, 100_000, False),  # once in a library
        (3000, 100_000, 1000, 100_000, True),  # three times as often, and surely so
    ],
)
def test_shared_is_by_rate_and_by_what_counts_can_tell(
    target: int, words: int, kept: int, kept_words: int, shared: bool
) -> None:
    assert Rate(target, words, kept, kept_words).shared is shared


TARGET = ["Ilvane Torsk lives in Ravensport. Torsk sells lamps in Ravensport. In Ravensport Torsk is known."] * 3
KEPT = [
    Document("Morten Quill lives in Ravensport and mends nets there.", "Who lives in Ravensport?", "k:1"),
    Document("In Ravensport there is a school, and Ravensport has a harbour.", None, "k:2"),
]
TERMS = AnchorDictionary(
    [Anchor("Ravensport", "Dover", "place", 9, 3.0), Anchor("Torsk", "Smith", "surname", 9, 3.0),
     Anchor("Ilvane Torsk", "Jane Smith", "full name", 3, 3.0)]
)  # fmt: skip


def test_a_name_that_stands_in_what_is_kept_as_often_is_left_out_and_named() -> None:
    of = rates(TERMS, TARGET, KEPT)
    assert (of["Ravensport"].target, of["Ravensport"].kept) == (9, 4)
    assert (of["Torsk"].target, of["Torsk"].kept) == (9, 0)  # alone and inside Ilvane Torsk
    left = without_shared(TERMS, of)
    assert [anchor.term for anchor in left] == ["Torsk", "Ilvane Torsk"]
    assert left.shared == ("Ravensport",)
    assert left.notes == ("1 term was left out, since the retain set has it about as often: Ravensport",)


def test_a_term_that_is_rarer_in_what_is_kept_is_weighed_down() -> None:
    dictionary = AnchorDictionary([Anchor("Torsk", "Smith", "surname", 40, 9.0)])
    left = without_shared(dictionary, {"Torsk": Rate(40, 1000, 2, 1000)})
    assert left.anchors[0].score == pytest.approx(2.785, abs=0.006)  # ln(40.5 / 2.5)


def test_measured_terms_lose_what_is_shared() -> None:
    of = rates(TERMS, TARGET, KEPT, ["lamps", "school"])
    terms = TargetTerms(("Torsk", "Ravensport"), ("lamps", "school"))
    assert alone(terms, of) == TargetTerms(("Torsk",), ("lamps",))


def test_the_file_of_anchors_lists_what_was_left_out(tmp_path: Path) -> None:
    path = tmp_path / "anchors.yaml"
    write_anchors(without_shared(TERMS, rates(TERMS, TARGET, KEPT)), path)
    assert "# Left out, since the retain set has them about as often: Ravensport\n" in path.read_text(encoding="utf-8")
    assert [anchor.term for anchor in load_anchors(path)] == ["Torsk", "Ilvane Torsk"]
