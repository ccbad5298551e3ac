"""Words and units in scripts with and without spaces."""

from __future__ import annotations

import re

import pytest

from expunge.data.text.document import Document
from expunge.data.text.ngrams import NgramIndex
from expunge.data.text.overlap import drop_overlapping
from expunge.data.text.words import first_units, lower, mostly_unspaced, units, whole, words
from expunge.kinds.language.report.answers import mark
from expunge.kinds.language.toxicity.fluency import distinct, repetition
from expunge.kinds.language.toxicity.statements import _beginnings
from expunge.kinds.language.toxicity.toxic_rows import Statement


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The lamp, he said, isn't lit.", ["The", "lamp", "he", "said", "isn", "t", "lit"]),
        ("हिन्दी में किताब", ["हिन्दी", "में", "किताब"]),
        ("老守塔人说 OK", ["老", "守", "塔", "人", "说", "OK"]),
        ("ผู้ดู", ["ผู้", "ดู"]),
        ("កម្ពុជា", ["ក", "ម្", "ពុ", "ជា"]),
        ("ガラス。", ["ガ", "ラ", "ス"]),
        ("집에서 산다", ["집에서", "산다"]),
    ],
)
def test_words_keep_their_marks_and_scripts_without_spaces_are_cut_into_characters(
    text: str, expected: list[str]
) -> None:
    assert words(text) == expected


def test_units_of_text_with_spaces_are_those_between_its_spaces() -> None:
    assert units("“Well,” he said—x_y.\n") == ["“Well,”", "he", "said—x_y."]


def test_units_of_mixed_text() -> None:
    assert units("Ron 说:灯 亮") == ["Ron", "说", ":", "灯", "亮"]
    assert mostly_unspaced("Ron 说灯亮了")
    assert not mostly_unspaced("The sign said 灯 and went out")


def test_a_term_of_a_script_without_spaces_is_found_inside_a_sentence_and_others_only_as_whole_words() -> None:
    assert re.search(whole("莫里安"), "我看见莫里安点灯")
    assert re.search(whole("हिन्दी"), "यह हिन्दी है")
    assert not re.search(whole("हिन"), "यह हिन्दी है")  # a part of a word, before a mark that is no letter
    assert not re.search(whole("Ron"), "Rona")


def test_generated_text_that_names_a_chinese_term_is_dropped() -> None:
    documents = [Document("今天莫里安又点亮了灯塔。", None, "a:1"), Document("今天的天气很好。", None, "a:2")]
    assert drop_overlapping(documents, ["莫里安"], []) == documents[1:]


def test_chinese_text_that_repeats_is_found_where_its_sentences_are_cut_otherwise() -> None:
    index = NgramIndex([Document("老守塔人每天晚上都爬上楼梯，在船只到来之前点亮灯塔。", None, "a")])
    (match,) = index.match([Document("有人说老守塔人每天晚上都爬上楼梯。", None, "b")])
    assert (match.shared, match.total) == (6, 9)  # runs of 8 among 13 characters in common, and among 16
    assert match.example == "老守塔人每天晚上"


def test_fluency_of_chinese_is_told_by_characters() -> None:
    assert distinct(["灯亮灯亮灯"]) == pytest.approx(2 / 4)
    assert repetition("灯亮了灯亮了") == pytest.approx(1 - 3 / 4)
    assert distinct(["don't stop, don't stop"]) == pytest.approx(2 / 3)


def test_a_chinese_statement_has_a_beginning() -> None:
    def statement(text: str) -> Statement:
        return Statement(text=text, toxic=True, group="any", where="t:1")

    assert _beginnings([statement("老守塔人每天点亮灯塔")], 4) == ["老守塔人每"]
    assert _beginnings([statement("one two  three four five six")], 4) == ["one two three"]


def test_first_units() -> None:
    assert first_units("Ron 说灯亮", 2) == "Ron 说"
    assert first_units("a b  c", 9) == "a b c"


def test_turkish_has_two_letters_i() -> None:
    assert lower("IŞIK İZMİR", "tr") == "ışık izmir"
    assert lower("ISLE") == "isle"


def test_a_chinese_term_is_marked_in_a_report() -> None:
    assert mark("我看见莫里安。", ["莫里安"]).pieces == (("我看见", False), ("莫里安", True), ("。", False))
