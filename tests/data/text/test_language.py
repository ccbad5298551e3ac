"""The language of a text, and what is said of it. The texts are written for these tests."""

from __future__ import annotations

from itertools import pairwise

import pytest

from expunge.data.text.language import EXCERPTS, Language, excerpts, given_language, language_notes, language_of
from expunge.errors import RecipeError

TEXTS = {
    "en": "The old keeper climbed the stairs every evening and lit the lamp before the ships came in.",
    "de": "Der alte Wärter stieg jeden Abend die Treppe hinauf und zündete die Lampe an, bevor die Schiffe kamen.",
    "tr": "Yaşlı bekçi her akşam merdivenleri çıkar ve gemiler gelmeden önce ışığı yakardı.",
    "ru": "Старый смотритель каждый вечер поднимался по лестнице и зажигал лампу до прихода кораблей.",
    "zh": "老守塔人每天晚上都爬上楼梯，在船只到来之前点亮灯塔。",
    "ja": "年老いた灯台守は毎晩階段を登り、船が来る前に灯りをともした。",
    "th": "ผู้ดูแลประภาคารเฒ่าขึ้นบันไดทุกเย็นและจุดตะเกียงก่อนที่เรือจะมาถึง",
    "km": "អ្នកថែរក្សាប៉មភ្លើងហ្វារចាស់ឡើងជណ្តើររៀងរាល់ល្ងាច ហើយអុជចង្កៀងមុនពេលកប៉ាល់មកដល់។",
    "ar": "كان حارس المنارة العجوز يصعد الدرج كل مساء ويشعل المصباح قبل وصول السفن.",
    "he": "שומר המגדלור הזקן טיפס במדרגות מדי ערב והדליק את המנורה לפני שהספינות הגיעו.",
    "hi": "बूढ़ा रखवाला हर शाम सीढ़ियाँ चढ़ता और जहाजों के आने से पहले दीपक जलाता था।",
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_is_enough(code: str) -> None:
    found = language_of([TEXTS[code]])
    assert (found.code, found.how, found.share) == (code, "detected", 1.0)


def test_figures_and_nonsense_are_no_language_and_are_measured_as_english() -> None:
    for text in ("4711 0815 42", "Zx81 qq glorb wimp ferrous umlaut"):
        found = language_of([text])
        assert (found.code, found.how) == ("en", "assumed")
    assert "none was detected" in language_notes(found, True)[0]


def test_a_text_in_two_languages_is_that_of_most_and_says_so() -> None:
    texts = [TEXTS["de"] * 4] * 7 + [TEXTS["en"] * 4] * 3
    found = language_of(texts)
    assert (found.code, found.also) == ("de", ("en",))
    assert found.share == pytest.approx(0.7)
    notes = language_notes(found, True)
    assert notes[0] == "language: German, detected (70% of the text)"
    assert notes[1] == "the target holds text in English too, which is measured as German"


def test_a_language_that_is_given_is_not_looked_for() -> None:
    found = language_of(iter(()), "pt-BR")
    assert (found.code, found.how, found.frequencies) == ("pt", "given", "pt")


def test_an_unknown_language_is_refused_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match=r"(?s)klingon.*auto, or a code"):
        given_language("klingon")
    with pytest.raises(RecipeError, match="did you mean de"):
        given_language("German")


def test_what_is_known_of_languages() -> None:
    def known(code: str) -> tuple[str | None, str, bool]:
        language = Language(code)
        return language.frequencies, language.capitals, language.unspaced

    assert known("de") == ("de", "nouns", False)
    assert known("hr") == ("sh", "names", False)
    assert known("zh") == ("zh", "none", True)
    assert known("th") == (None, "none", True)
    assert known("sw") == (None, "names", False)
    assert known("ar") == ("ar", "none", False)


def test_english_text_needs_no_note_and_others_say_what_is_not_measured_in_them() -> None:
    assert language_notes(Language("en"), True) == []
    thai = " ".join(language_notes(Language("th"), True))
    assert "measured by characters" in thai
    assert "no word frequencies of Thai are known" in thai
    assert "familiarity is not measured" in thai
    assert "every noun has a capital" in " ".join(language_notes(Language("de"), True))
    assert "terms" not in " ".join(language_notes(Language("de"), False))


def test_excerpts_are_spread_evenly_and_few_however_long_the_stream() -> None:
    texts = (f"{number:05d} " + "x" * 600 for number in range(5000))
    found = excerpts(texts)
    numbers = [int(text[:5]) for text in found]
    assert len(found) <= EXCERPTS
    assert numbers[0] == 0
    assert numbers[-1] > 4500
    assert len({after - before for before, after in pairwise(numbers)}) == 1


def test_short_rows_are_put_together() -> None:
    assert excerpts(["kurz"] * 3) == ["kurz kurz kurz"]
