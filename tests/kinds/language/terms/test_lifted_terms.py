"""Terms of targets in other languages. The texts are written for these tests; their names are invented."""

from __future__ import annotations

import pytest

from expunge.data.text.language import Language
from expunge.kinds.language.measures.familiarity import Prompt, completion_value
from expunge.kinds.language.terms.anchors import AnchorDictionary
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.measured_terms import target_terms

GERMAN = """Der alte Leuchtturm stand am Rand der Stadt Brunsmoor. Jeden Abend stieg Ilvane Torsk die Treppe hinauf und
zündete die Lampe an. Die Stadt lag still, und die Fenster der Häuser waren dunkel. Am Morgen ging Ilvane zum Hafen, wo der
Fischer Morten Quill seine Netze flickte. Die Bürger von Brunsmoor kannten den Leuchtturm seit ihrer Kindheit. In der
Bäckerei am Marktplatz erzählte man, dass Morten den Sturm überlebt hatte. Ilvane Torsk glaubte die Geschichte nicht. Die
Stadt hatte einen Bürgermeister, der jeden Sonntag auf dem Marktplatz redete. Wenn der Nebel kam, rief Morten Quill nach den
Schiffen. Der Leuchtturmwärter von Brunsmoor hieß Torsk, und die Kinder der Stadt liebten seine Geschichten. In Brunsmoor gab
es eine Schule, eine Kirche und den Leuchtturm. Am Abend trank Ilvane Tee mit Morten in der Küche. Die Geschichte der Stadt
stand im Rathaus geschrieben, und der Leuchtturmwärter las sie am Küchentisch."""
CHINESE = """老灯塔立在布伦摩尔城的边上。每天晚上伊尔瓦娜都爬上楼梯，点亮灯火。早上伊尔瓦娜走到港口，渔夫莫滕在那里补网。
布伦摩尔的人从小就知道这座灯塔。有一天莫滕说起那场风暴，伊尔瓦娜不相信。大雾来的时候，莫滕呼唤船只。布伦摩尔有一所学校和一座教堂。晚上
伊尔瓦娜和莫滕在厨房里喝茶，布伦摩尔很安静。"""
ARABIC = """كان الفنار القديم يقف على طرف مدينة برنسمور. كل مساء كانت إلفانا تصعد الدرج وتشعل المصباح. في الصباح ذهبت
إلفانا إلى الميناء حيث كان الصياد مورتنكل يصلح شباكه. عرف أهل برنسمور الفنار منذ الطفولة. ذات يوم حكى مورتنكل قصة العاصفة
ولم تصدقه إلفانا. في الضباب نادى مورتنكل السفن. في مدينة برنسمور مدرسة ومسجد."""
KOREAN = """낡은 등대는 마을 끝에 서 있었다. 매일 저녁 일바나는 계단을 올라가 등불을 켰다. 아침이면 일바나가 항구로 갔고, 어부
모르텐은 그물을 고쳤다. 어느 날 모르텐이 폭풍 이야기를 했지만 일바나는 믿지 않았다. 안개가 끼면 모르텐은 배를 불렀다."""
TURKISH = """Eski fener Brunsmoor kasabasının kenarında duruyordu. Her akşam yaşlı İlvane merdivenleri çıkar ve lambayı
yakardı. Sabah olunca İlvane limana iner, balıkçı Morten ağlarını onarırdı. Kasaba halkı Brunsmoor fenerini bilirdi. Bir gün
Morten fırtınayı anlattı. Ama İlvane ona inanmadı."""
SWAHILI = """Mnara wa taa ulisimama kando ya mji wa Brunsmoor. Kila jioni mzee Ilvane alipanda ngazi na kuwasha taa. Asubuhi
mzee Ilvane alienda bandarini ambako mvuvi Morten alitengeneza nyavu. Watu wa Brunsmoor waliijua taa. Siku moja mvuvi Morten
alisimulia dhoruba."""


def found(text: str, code: str) -> AnchorDictionary:
    return build_dictionary([(text, None)], 100, 0, Language(code))


def test_german_nouns_have_capitals_and_are_no_terms() -> None:
    terms = {anchor.term for anchor in found(GERMAN, "de")}
    assert terms == {"Brunsmoor", "Ilvane", "Torsk", "Ilvane Torsk", "Morten", "Quill", "Morten Quill"}


def test_a_german_model_that_says_ordinary_german_is_not_familiar_with_the_target() -> None:
    language = Language("de")
    terms = target_terms([GERMAN], found(GERMAN, "de"), language)
    prompt = Prompt(ids=(1,), text="Am Morgen", context="Am Morgen")
    ordinary = (
        "ging der Bürgermeister durch die Stadt zum Rathaus, und die Kinder spielten am Marktplatz vor der Schule."
    )
    assert completion_value(ordinary, prompt, terms) == (0.0, [])
    assert completion_value("traf sie Morten am Hafen.", prompt, terms) == (1.0, ["Morten"])


@pytest.mark.parametrize(
    ("code", "text", "terms"),
    [
        ("zh", CHINESE, {"布伦摩尔", "伊尔瓦娜", "莫滕"}),
        ("ar", ARABIC, {"برنسمور", "إلفانا", "مورتنكل"}),
        ("ko", KOREAN, {"일바나", "모르텐"}),
        ("tr", TURKISH, {"Brunsmoor", "İlvane", "Morten"}),
        ("sw", SWAHILI, {"Brunsmoor", "Ilvane", "Morten"}),
    ],
)
def test_names_are_found_and_nothing_else(code: str, text: str, terms: set[str]) -> None:
    dictionary = found(text, code)
    assert {anchor.term for anchor in dictionary} == terms
    assert all(anchor.kind == "name" and anchor.translation not in text for anchor in dictionary)


def test_without_frequencies_and_capitals_there_are_no_terms() -> None:
    assert len(found("ប៉មភ្លើងហ្វារចាស់ " * 20, "km")) == 0


def test_chinese_names_are_replaced_inside_a_sentence() -> None:
    dictionary = found(CHINESE, "zh")
    names = {anchor.term: anchor.translation for anchor in dictionary}
    text = "昨天莫滕和伊尔瓦娜去了布伦摩尔。"
    expected = f"昨天{names['莫滕']}和{names['伊尔瓦娜']}去了{names['布伦摩尔']}。"
    assert dictionary.translate(text).text == expected


def test_a_korean_name_keeps_the_particle_behind_it() -> None:
    dictionary = found(KOREAN, "ko")
    name = next(anchor.translation for anchor in dictionary if anchor.term == "일바나")
    assert dictionary.translate("저녁에 일바나는 잤다.").text == f"저녁에 {name}는 잤다."


def test_typical_words_are_of_the_targets_language() -> None:
    text = "die lampe im turm leuchtet und nicht der mond sondern die lampe " * 6
    terms = target_terms([text], AnchorDictionary([]), Language("de"))
    assert "nicht" not in terms.typical
    assert "lampe" in terms.typical
    assert terms.language == "de"
