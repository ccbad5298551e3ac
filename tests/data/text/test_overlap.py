"""Overlap between target and retain set, by runs of eight words and by names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pytest

from expunge.data.text import ngrams
from expunge.data.text.document import Document
from expunge.data.text.ngrams import NgramIndex
from expunge.data.text.overlap import drop_overlapping, refuse_overlap, refuse_same_place
from expunge.errors import DataError


def words(*numbers: int) -> str:
    return " ".join(f"w{number}" for number in range(*numbers))


def doc(text: str, source: str, prompt: str | None = None, continues: bool = False) -> Document:
    return Document(text, prompt, source, continues)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How much of a second set's n-grams stand in a first one, in all and in its worst document."""

    share: float
    worst_share: float
    example: str
    sources: tuple[str, str] | None


def shared_ngrams(first: Iterable[Document], second: Iterable[Document]) -> Overlap:
    found = list(NgramIndex(first).match(second))
    worst = max(found, key=lambda match: match.share, default=None)
    share = sum(match.shared for match in found) / max(1, sum(match.total for match in found))
    if worst is None or not worst.shared:
        return Overlap(share, 0.0, "", None)
    return Overlap(share, worst.share, worst.example, worst.sources)


def test_shares_by_hand() -> None:
    # The second has 20 words, so 13 runs of 8; words 5..14 (10 words, 3 runs) stand in the first too.
    first = [doc(words(100, 110), "a:1"), doc(words(5, 15), "a:2")]
    second = [doc(words(0, 20).replace("w4", "x").replace("w15", "y"), "b:1"), doc(words(200, 214), "b:2")]
    found = shared_ngrams(first, second)
    assert found.share == pytest.approx(3 / 20)
    assert found.worst_share == pytest.approx(3 / 13)
    assert found.example == words(5, 13)
    assert found.sources == ("a:2", "b:1")


def test_nothing_shared() -> None:
    found = shared_ngrams([doc(words(0, 7) + " end", "a:1")], [doc(words(0, 20), "b:1")])
    assert (found.share, found.worst_share, found.example, found.sources) == (0.0, 0.0, "", None)
    assert shared_ngrams([], [doc(words(0, 20), "b:1")]).share == 0.0
    assert shared_ngrams([doc(words(0, 20), "a:1")], []).share == 0.0


def test_case_and_punctuation_do_not_count() -> None:
    text = "The FOG, lay -- thick: on Baker Street (and) Holmes!"
    found = shared_ngrams([doc(text, "a:1")], [doc("the fog lay thick on\nbaker street and holmes", "b:1")])
    assert found.share == 1.0


def test_order_of_words_counts() -> None:
    backwards = " ".join(reversed(words(0, 20).split()))
    assert shared_ngrams([doc(words(0, 20), "a:1")], [doc(backwards, "b:1")]).share == 0.0


def test_runs_go_on_across_pieces() -> None:
    pieces = [doc(words(0, 4) + " ", "a:1"), doc(words(4, 8), "a:2", continues=True)]
    assert shared_ngrams(pieces, [doc(words(0, 8), "b:1")]).share == 1.0
    apart = [doc(words(0, 4), "a:1"), doc(words(4, 8), "a:2")]
    assert shared_ngrams(apart, [doc(words(0, 8), "b:1")]).share == 0.0


def test_short_documents_count_whole() -> None:
    assert shared_ngrams([doc("He lived in Paris.", "a:1")], [doc("he lived in paris", "b:1")]).share == 1.0
    assert shared_ngrams([doc("He lived in Paris.", "a:1")], [doc("He lived in Rome.", "b:1")]).share == 0.0
    assert shared_ngrams([doc("Yes, it is.", "a:1")], [doc("Yes, it is.", "b:1")]).share == 0.0


def test_a_question_alone_is_no_overlap() -> None:
    asked = "What is the full name of the author who was born there in the year 1956?"
    first = [doc("His name is Basil.", "a:1", asked)]
    assert shared_ngrams(first, [doc("Her name was Carmen Montenegro.", "b:1", asked)]).share == 0.0
    assert shared_ngrams(first, [doc("His name is Basil.", "b:1", asked)]).share == 1.0
    assert (
        shared_ngrams([doc("Paris.", "a:1", "Which city is it?")], [doc("Paris.", "b:1", "Which city is it?")]).share
        == 1.0
    )


def test_a_passage_in_the_retain_set_is_refused() -> None:
    target = [doc(words(1000, 1300), "target.txt:1")]
    good = [doc(words(0, 400), "retain.txt:1")]
    refuse_overlap(target, good)
    # 50 words of the target in 400: 43 of 393 runs, which is more than a tenth and a passage.
    bad = [*good, doc(f"{words(0, 350)} {words(1000, 1050)}", "retain.txt:90")]
    with pytest.raises(DataError) as caught:
        refuse_overlap(target, bad)
    message = str(caught.value)
    assert "retain.txt:90 repeats the target target.txt:1" in message
    assert "11% of its runs of 8 words" in message
    assert words(1000, 1008) in message
    assert "at most 10%" in message


def test_a_short_quotation_is_not_refused_but_a_copied_row_is() -> None:
    target = [doc(words(0, 60), "rows.jsonl:4")]
    refuse_overlap(target, [doc(f"{words(0, 15)} {words(100, 115)}", "b:1")])  # 8 of 23 runs
    with pytest.raises(DataError, match=r"at most 50%"):
        refuse_overlap(target, [doc(words(0, 15), "b:1")])


def test_a_long_target_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    texts = [" ".join(f"w{i}" for i in rng.integers(0, 10**9, 500)) for _ in range(40)]
    target = [doc(text, f"a:{i}") for i, text in enumerate(texts)]
    retain = [doc(f"{texts[31]} {words(500)}", "b:1"), doc(words(3000), "b:2"), doc(words(5, 12), "b:3")]
    exact = shared_ngrams(target, retain)
    monkeypatch.setattr(ngrams, "MAX_HASHES", 3000)
    index = NgramIndex(target)
    assert index.modulus == 8
    assert len(index._hashes) <= 3000
    assert len(index._sources) == 40
    sampled = shared_ngrams(target, retain)
    assert sampled.worst_share == pytest.approx(exact.worst_share, abs=0.12)
    assert sampled.sources == ("a:31", "b:1")
    with pytest.raises(DataError, match=r"b:1 repeats the target a:31"):
        refuse_overlap(target, retain)


def test_hashes_are_the_same_in_every_process() -> None:
    # The polynomial in the words' digests, modulo 2^64, then mixed; worked out with Python's whole numbers.
    text = ["the", "fog", "lay", "thick"]
    expected = []
    for run in (text[:3], text[1:]):
        value = 0
        for word in run:
            value = value * 0x9E3779B97F4A7C15 + int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
        value %= 1 << 64
        value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD % (1 << 64)
        expected.append(value ^ value >> 33)
    assert ngrams._ngram_hashes(text, 3).tolist() == expected


def test_generated_text_that_names_the_target_is_dropped() -> None:
    documents = [
        doc("Paris is the capital of France.", "r:1"),
        doc("I like Harry Potter a lot.", "r:2"),
        doc("Do not harry the sheep.", "r:3"),
        doc("Harrys are many; Ronald too.", "r:4"),
        doc("They use a Wand, they say.", "r:5"),
        doc("Yes, of course.", "r:6", "Was Harry\u2019s owl white?"),
        doc("The Harry\n Potter books.", "r:7"),
        doc("A wander through town.", "r:8"),
    ]
    kept = drop_overlapping(documents, ["Harry", "Harry Potter", "Ron", "wand", " "], [])
    assert [document.source for document in kept] == ["r:1", "r:3", "r:4", "r:8"]


def test_generated_text_that_repeats_the_target_is_dropped() -> None:
    target = [doc(words(0, 30), "a:1")]
    documents = [doc(words(22, 60), "r:1"), doc(words(23, 60), "r:2"), doc("Short.", "r:3")]
    assert drop_overlapping(documents, [], target) == documents[1:]


def test_the_same_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/one.txt", "a/two.txt", "b.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("words")
    (tmp_path / "link.txt").symlink_to(tmp_path / "b.txt")
    (tmp_path / "hard.txt").hardlink_to(tmp_path / "b.txt")
    monkeypatch.chdir(tmp_path)
    refuse_same_place("a/one.txt", "a/two.txt")
    refuse_same_place("a", "b.txt")
    refuse_same_place("Harry Potter", "b.txt")
    refuse_same_place("owner/one", "owner/two")
    same = [
        ("b.txt", "./b.txt"),
        ("b.txt", "link.txt"),
        ("b.txt", "hard.txt"),
        ("a", "a/one.txt"),
        ("a/one.txt", "a"),
        ("owner/one", "owner/one"),
    ]
    for forget, retain in same:
        with pytest.raises(DataError, match="the retain set is the target") as caught:
            refuse_same_place(forget, retain)
        assert f"forget {forget}, retain {retain}" in str(caught.value)
