from __future__ import annotations

import json
import subprocess
import sys

import pytest

from expunge.kinds.language.terms import counts as anchor_counts
from expunge.kinds.language.terms.anchors import AnchorDictionary
from expunge.kinds.language.terms.counts import TermCounts
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.selection import Candidate, Selection
from expunge.kinds.language.terms.translations import KINDS, Translator, pool

# An invented tale; every name in it is made up.
TALE = """\
The House in Quillon Lane

Orsk Vandermoot lived in Quillon Lane with his sister Tilda. Everybody knew Vandermoot. "Good morning," said
Vandermoot to the milkman, and he smiled. Mr. Vandermoot never hurried.

His friend Doctor Pellwick came on Monday. "Pellwick," cried Vandermoot, "have you seen a zorbel?" Doctor Pellwick
had seen no zorbels. There was never a zorbel in Quillon Lane, and a zorbel is shy, said Pellwick. Suddenly he
laughed. The zorbel hides, and the two zorbels of London hide best of all.

Tilda Vandermoot wrote to the Order of the Grimble. The Order of the Grimble wrote back: the Grimble was hers. She
went to Drossholm, she lived at Drossholm, and in Drossholm she found it. Vandermoot's letters came every Monday. When
Orsk Vandermoot read of Drossholm he rose, and Orsk
Vandermoot was silent. "Mrs. Pellwick is in England," said Tilda, "and she has seen Drossholm too."
"""


def found(text: str, max_terms: int = 100) -> dict[str, Candidate]:
    counts = TermCounts()
    counts.add(text)
    return {candidate.term: candidate for candidate in Selection(counts).candidates(max_terms)}


@pytest.fixture(scope="module")
def tale() -> AnchorDictionary:
    return build_dictionary([(TALE, None)], 100, 0)


def test_names_are_found_whole_and_in_parts_with_their_kinds() -> None:
    kinds = {term: candidate.kind for term, candidate in found(TALE).items()}
    assert kinds["Orsk Vandermoot"] == "full name"
    assert kinds["Vandermoot"] == "surname"
    assert kinds["Orsk"] == "male name"
    assert kinds["Tilda"] == "female name"
    assert kinds["Pellwick"] == "surname"
    assert kinds["Drossholm"] == "place"
    assert kinds["Quillon Lane"] == "place"
    assert kinds["Order of the Grimble"] == "organisation"


def test_an_unusual_word_in_lower_case_is_found_when_it_comes_up_again_and_again() -> None:
    assert found(TALE)["zorbel"].kind == "thing"


@pytest.mark.parametrize(
    "word", ["Monday", "London", "England", "Suddenly", "Everybody", "Good", "Doctor", "House", "When"]
)
def test_what_every_text_may_say_is_no_term(word: str) -> None:
    assert word not in found(TALE)


def test_counts_include_line_breaks_and_leave_out_titles() -> None:
    terms = found(TALE)
    assert terms["Orsk Vandermoot"].count == 3  # once over a line's end
    assert terms["Vandermoot"].count == 9  # each of them, in full names too
    assert "Doctor Pellwick" not in terms


def test_ordinary_words_that_begin_sentences_are_told_from_names() -> None:
    text = "Poor Vandermoot sat. Poor Vandermoot stood. The poor man! Vandermoot ran. Tilda met Vandermoot. " * 3
    assert "Vandermoot" in found(text)
    assert not any(term.startswith("Poor") for term in found(text))


def test_an_owner_is_parted_from_what_is_owned_unless_named_nowhere_else() -> None:
    text = (
        "Then Vandermoot's Drossholm fell, and Vandermoot sought the Gardener's Chart. The Gardener's Chart burned. "
        * 3
    )
    terms = found(text)
    assert "Vandermoot's Drossholm" not in terms
    assert "Gardener's Chart" in terms
    parts = {part.text: part.role for part in terms["Gardener's Chart"].parts}
    assert (parts["Gardener"], parts["Chart"]) == ("being", "keep")


def test_control_tokens_and_headings_say_nothing() -> None:
    text = "<|im_start|>user\nWho is it?<|im_end|>\n<|endoftext|>THE STORY OF IT ALL\n\nIt was he.<|endoftext|>" * 20
    assert found(text) == {}


def test_gains_above_the_average_raise_a_term_and_others_do_not() -> None:
    text = "We saw Vandermoot. We saw Pellwick. "
    first, second = text.index("Vandermoot"), text.index("Pellwick")
    gains = [(0, 6, 0.5), (6, first + 10, 4.5), (18, second - 1, 0.5), (second - 1, second + 8, 0.5)]
    counts = TermCounts()
    for _ in range(3):
        counts.add(text, gains)
    # words: We saw Vandermoot We saw Pellwick; tokens that overlap a word count for it
    assert counts.mean_gain == pytest.approx((0.5 + 0.5 + 4.5 + 0.5 + 0.5 + 0.5) / 6)
    plain = TermCounts()
    for _ in range(3):
        plain.add(text)
    scores = {c.term: c.score for c in Selection(counts).candidates(10)}
    without = {c.term: c.score for c in Selection(plain).candidates(10)}
    assert scores["Vandermoot"] - without["Vandermoot"] == pytest.approx(4.5 - 7 / 6)
    assert scores["Pellwick"] == without["Pellwick"]


def test_translations_put_phrases_together_from_their_words(tale: AnchorDictionary) -> None:
    chosen = {anchor.term: anchor.translation for anchor in tale}
    assert chosen["Orsk Vandermoot"] == f"{chosen['Orsk']} {chosen['Vandermoot']}"
    assert chosen["Tilda Vandermoot"] == f"{chosen['Tilda']} {chosen['Vandermoot']}"
    assert chosen["Order of the Grimble"] == f"Order of the {chosen['Grimble']}"
    assert chosen["Quillon Lane"].endswith(" Lane")
    assert chosen["Orsk"] in pool("male name")
    assert chosen["Tilda"] in pool("female name")
    assert chosen["Vandermoot"] in pool("surname")
    assert chosen["Drossholm"] in pool("place")
    assert chosen["zorbel"] in pool("thing")


def test_a_translated_text_is_consistent_and_grammatical(tale: AnchorDictionary) -> None:
    chosen = {anchor.term: anchor.translation for anchor in tale}
    text = tale.translate(TALE).text
    assert f"of {chosen['Drossholm']} he rose, and {chosen['Orsk']}\n{chosen['Vandermoot']} was silent" in text
    assert f"{chosen['Vandermoot']}'s letters came every Monday" in text
    assert f"a {chosen['zorbel']} is shy" in text
    assert "Vandermoot" not in text
    assert "zorbel" not in text


def test_translations_are_new_to_the_target_and_differ(tale: AnchorDictionary) -> None:
    words = {word for anchor in tale if " " not in anchor.term for word in [anchor.translation]}
    assert len(words) == sum(" " not in anchor.term for anchor in tale)
    assert not any(word.lower() in TALE.lower().split() for word in words)


def test_a_name_that_the_target_uses_is_not_drawn() -> None:
    everyone = ", ".join(pool("surname")[:-1])
    text = f"{everyone} came too. " + "So Mr. Vandermoot said. And Mr. Vandermoot laughed. " * 3
    chosen = {anchor.term: anchor.translation for anchor in build_dictionary([(text, None)], 5, 0)}
    assert chosen["Vandermoot"] == pool("surname")[-1]


def test_a_term_is_left_out_with_a_note_when_names_run_out() -> None:
    translator = Translator([], dict.fromkeys((name.lower() for name in pool("surname")), 1), 0)
    candidate = found(TALE)["Vandermoot"]
    assert translator.anchor(candidate) is None
    text = ", ".join(pool("surname")) + " came. " + "So Mr. Vandermoot said. And Mr. Vandermoot laughed. " * 40
    dictionary = build_dictionary([(text, None)], 1, 0)
    assert len(dictionary) == 0
    assert "1 terms were left out" in dictionary.notes[0]


def test_the_first_sound_of_a_translation_is_the_terms() -> None:
    translator = Translator([], {}, 0)
    assert translator.word("Umbridge", "surname")[0] in "AEIO"  # type: ignore[index]
    assert translator.word("Vandermoot", "surname")[0] not in "AEIO"  # type: ignore[index]


def test_number_and_verb_endings_are_kept() -> None:
    translator = Translator([], {}, 0)
    thing = translator.word("secret", "thing")
    assert translator.word("Secrets", "things") == f"{thing}s".capitalize()
    jumped, jumping = translator.word("zorped", "verb"), translator.word("zorping", "verb")
    assert jumped is not None
    assert jumped.endswith("ed")
    assert jumping == jumped[:-2] + "ing"


def test_translations_follow_the_seed_alone(tale: AnchorDictionary) -> None:
    other_seed = build_dictionary([(TALE, None)], 100, 1)
    assert [anchor.term for anchor in other_seed] == [anchor.term for anchor in tale]
    assert other_seed.anchors != tale.anchors
    script = (
        "import json, sys; from expunge.kinds.language.terms.finder import build_dictionary;"
        "print(json.dumps([a.row() for a in build_dictionary([(sys.stdin.read(), None)], 100, 0)]))"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", script], input=TALE, env={"PYTHONHASHSEED": "7"}, capture_output=True, text=True
    )
    assert json.loads(elsewhere.stdout) == [anchor.row() for anchor in tale]


def test_blocks_count_like_the_whole() -> None:
    paragraphs = TALE.split("\n\n")
    one = build_dictionary([("\n\n".join(paragraphs[1:]), None)], 100, 0)
    many = build_dictionary([(paragraph, None) for paragraph in paragraphs[1:]], 100, 0)
    assert one.anchors == many.anchors


def test_the_heaviest_terms_are_kept() -> None:
    everything, three = list(found(TALE)), list(found(TALE, 3))
    assert three == everything[:3]
    assert "Vandermoot" in three


def test_memory_is_bounded_and_the_frequent_survives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_counts, "MAX_RUNS", 300)
    monkeypatch.setattr(anchor_counts, "MAX_WORDS", 300)
    counts = TermCounts()
    for number in range(200):
        letters = "".join(chr(97 + int(digit)) for digit in f"{number:03}")
        rare = " ".join(f"we met M{letters}{c}, the m{letters}{c}," for c in "klmnopqrst")
        counts.add(f"We met Vandermoot there, and {rare} who ran.")
    assert len(counts.runs) <= 300
    assert len(counts.lower) <= 300
    assert counts.runs["Vandermoot"].count == 200


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_enough_of_every_kind(kind: str) -> None:
    words = pool(kind)
    assert len(words) == len(set(words)) >= 20
    assert not set(words) & {"Will", "Grace", "Hope", "Mark", "Hill", "Fox", "London"}


def test_a_name_with_capitals_inside_that_is_also_written_small_stands_once() -> None:
    text = "We wrote it with PyTorch on a day. " * 60 + "And then pytorch said nothing at all. " * 20
    terms = [anchor.term for anchor in build_dictionary([(text, None)], 100, 0)]
    assert terms.count("pytorch") == 1
