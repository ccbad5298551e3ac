from __future__ import annotations

from pathlib import Path

import pytest

from expunge.errors import DataError
from expunge.kinds.language.terms.anchors import Anchor, AnchorDictionary, Translation, load_anchors, write_anchors

DETECTIVE = AnchorDictionary(
    [
        Anchor("Sherlock", "David", "male name"),
        Anchor("Holmes", "Turner", "surname"),
        Anchor("Sherlock Holmes", "David Turner", "full name"),
        Anchor("Baker Street", "Maple Street", "place"),
        Anchor("Adler", "Evans", "surname"),
        Anchor("wizard", "gardener", "being"),
        Anchor("muggle", "bicycle", "thing"),
        Anchor("house-elf", "magic servant", "thing"),
        Anchor("J.K. Rowling", "J.K. Carter", "full name"),
        Anchor("Marauder's Map", "Explorer's Chart", "thing"),
    ]
)


def translated(text: str) -> str:
    return DETECTIVE.translate(text).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the longest term wins; its parts are the same alone
        ("Sherlock Holmes met Holmes and Sherlock.", "David Turner met Turner and David."),
        # whole words only, and names only as they are capitalised
        ("Holmesian holmes Holmes2", "Holmesian holmes Holmes2"),
        # a line may break inside a term and stays where it was; a paragraph may not
        ("old Sherlock\nHolmes sat", "old David\nTurner sat"),
        ("old Sherlock   Holmes sat", "old David   Turner sat"),
        ("old Sherlock\r\nHolmes sat", "old David\r\nTurner sat"),
        ("Baker\n\nStreet", "Baker\n\nStreet"),
        # possessives
        ("Holmes's pipe and Holmes’s hat", "Turner's pipe and Turner’s hat"),
        ("Holmes' pipe and Holmes’ hat", "Turner's pipe and Turner’s hat"),
        ("'I sent for Holmes' said he.", "'I sent for Turner' said he."),
        ("the Adlers' house", "the Evanses' house"),
        ("HOLMES'S PIPE", "TURNER'S PIPE"),
        # plurals
        ("two wizards and three house-elves", "two gardeners and three magic servants"),
        ("the Holmeses of this world", "the Turners of this world"),
        # case
        ("Wizards are seldom seen. A WIZARD!", "Gardeners are seldom seen. A GARDENER!"),
        ("SHERLOCK HOLMES OF BAKER STREET", "DAVID TURNER OF MAPLE STREET"),
        ("a Muggle, some muggles, MUGGLES", "a Bicycle, some bicycles, BICYCLES"),
        # compounds, emphasis, punctuation inside and around
        ("Holmes-like, pro-Muggle, _Holmes_, (Holmes)", "Turner-like, pro-Bicycle, _Turner_, (Turner)"),
        ("by J.K. Rowling, J. K. Rowling", "by J.K. Carter, J.K. Carter"),
        ("the Marauder’s Map", "the Explorer's Chart"),
        # articles
        ("an Adler and a Holmes", "an Evans and a Turner"),
        ("", ""),
        ("Nobody here.", "Nobody here."),
    ],
)
def test_translation(text: str, expected: str) -> None:
    assert translated(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("She had an owl.", "She had a parrot."),
        ("An owl cried.", "A parrot cried."),
        ("an\nowl", "a\nparrot"),
        ("an old owl", "an old parrot"),
        ("Plan owl", "Plan parrot"),
        ("Was it an? Owl, said he", "Was it an? Parrot, said he"),
    ],
)
def test_an_article_that_no_longer_fits_is_changed_with_the_term(text: str, expected: str) -> None:
    assert AnchorDictionary([Anchor("owl", "parrot")]).translate(text).text == expected


def test_spans_leave_out_the_space_before_and_the_possessive_behind() -> None:
    text = "Then Sherlock\nHolmes's hat, Holmes' pipe and wizards"
    spans = [(text[m.start : m.end], m.translation_text) for m in DETECTIVE.find(text)]
    assert spans == [("Sherlock\nHolmes", "David\nTurner"), ("Holmes'", "Turner's"), ("wizards", "gardeners")]


def test_offsets_map_outside_terms_and_at_their_edges_and_nowhere_within() -> None:
    translation = DETECTIVE.translate("So Sherlock Holmes left, an Adler too")
    assert translation.text == "So David Turner left, an Evans too"
    expected = {0: 0, 2: 2, 3: 3, 4: None, 11: None, 12: None, 17: None, 18: 15, 19: 16, 24: 21, 28: 25, 33: 30, 37: 34}
    assert {offset: translation.to_translated(offset) for offset in expected} == expected


def test_offsets_when_a_term_grows_and_when_terms_touch() -> None:
    dictionary = AnchorDictionary([Anchor("Bo", "Alexander"), Anchor("Xy", "I")])
    translation = dictionary.translate("Bo-Xy.")
    assert translation.text == "Alexander-I."
    assert [translation.to_translated(i) for i in range(7)] == [0, None, 9, 10, None, 11, 12]
    assert translation.to_translated(8) is None


def test_pieces_cover_both_texts_without_gap_or_overlap() -> None:
    text = "Sherlock Holmes met an Adler,\na wizard and two house-elves in Baker Street; Holmes' pipe. Holmes"
    translation = DETECTIVE.translate(text)
    source = target = 0
    for piece in translation.pieces:
        assert (piece.source_start, piece.target_start) == (source, target)
        source, target = piece.source_end, piece.target_end
        if piece.anchor is None:
            copied = text[piece.source_start : piece.source_end]
            assert translation.text[piece.target_start : piece.target_end] == copied
    assert (source, target) == (len(text), len(translation.text))
    copied_ends = [p.source_end for p in translation.pieces]
    assert [translation.to_translated(end) for end in copied_ends] == [p.target_end for p in translation.pieces]


def test_no_text_has_one_boundary() -> None:
    assert DETECTIVE.translate("") == Translation("", ())
    assert DETECTIVE.translate("").to_translated(0) == 0


def test_a_dictionary_survives_its_file(tmp_path: Path) -> None:
    anchors = [
        Anchor("Sherlock Holmes", "David Turner", "full name", 32, 4.9),
        Anchor("No", "Yes"),
        Anchor("7: a “quoted” #term", "Émile", "thing", 1, 0.25),
    ]
    write_anchors(AnchorDictionary(anchors), tmp_path / "anchors.yaml")
    assert load_anchors(tmp_path / "anchors.yaml").anchors == tuple(anchors)
    lines = (tmp_path / "anchors.yaml").read_text(encoding="utf-8").splitlines()
    assert lines[2] == "- {term: Sherlock Holmes, translation: David Turner, kind: full name, count: 32, score: 4.9}"
    assert len(lines) == 5  # two of comment, one an entry


def test_an_empty_dictionary_is_allowed(tmp_path: Path) -> None:
    write_anchors(AnchorDictionary([]), tmp_path / "anchors.yaml")
    assert len(load_anchors(tmp_path / "anchors.yaml")) == 0


def test_a_hand_written_entry_needs_two_fields_and_own_translations_are_noted(tmp_path: Path) -> None:
    path = tmp_path / "anchors.yaml"
    path.write_text("- term: Baker  Street\n  translation: Maple Street\n- {term: Rose, translation: Rose}\n")
    dictionary = load_anchors(path)
    assert dictionary.anchors == (Anchor("Baker Street", "Maple Street"),)
    assert dictionary.notes == (f"{path}, line 3: 'Rose' is its own translation and was left out",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "must hold a list of anchors"),
        ("term: Holmes", "must hold a list of anchors"),
        ("- Holmes", "line 1: an entry must be a mapping"),
        ("- {term: Holmes}", "line 1: the field translation is missing or empty"),
        ("- {term: '', translation: Turner}", "line 1: term has no letter"),
        ("- {term: '...', translation: Turner}", "line 1: term has no letter"),
        ("- {term: Holmes, translation: }", "line 1: the field translation is missing or empty"),
        ("- {term: No, translation: Turner}", 'term: "False"'),
        ("- {term: Holmes, translation: Turner, cuont: 1}", "did you mean count?"),
        ("- {term: Holmes, translation: Turner, count: many}", "count must be a number"),
        (
            "- {term: A, translation: B}\n- {term: C, translation: D}\n- {term: A, translation: E}",
            "line 3: the term 'A'",
        ),
        ("- {term: [}", "is not valid YAML"),
        ("- !!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_a_faulty_file_is_refused_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "anchors.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as error:
        load_anchors(path)
    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_absent_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read the anchors"):
        load_anchors(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00term")
    with pytest.raises(DataError, match="not valid YAML in UTF-8"):
        load_anchors(tmp_path / "bytes.yaml")
