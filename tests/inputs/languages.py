"""Text in other languages than English, and text to keep that names what is to be forgotten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from case import Case

from expunge.data.text.language import Language, given_language, language_notes, language_of
from expunge.data.text.overlap import refuse_overlap
from expunge.data.text.readers import read_documents
from expunge.data.text.words import units
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.recall import rouge_l
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.terms.anchors import AnchorDictionary
from expunge.kinds.language.terms.finder import build_dictionary
from expunge.kinds.language.terms.kept_terms import rates, without_shared

DUTCH = """De oude toren stond aan de rand van Brunsmoor. Elke avond klom Ilvane de trap op en stak de lamp aan. In de ochtend
liep Ilvane naar de haven, waar de visser Morten zijn netten herstelde. De mensen van Brunsmoor kenden de toren. Op een dag
vertelde Morten over de storm, maar Ilvane geloofde hem niet."""
THAI = "ทุกเย็นคนเฝ้าประภาคารขึ้นบันไดและจุดตะเกียงก่อนที่เรือจะมาถึงท่า ตอนเช้าเขาเดินไปตลาดและซื้อปลาสองตัว"
CHINESE = "老守塔人每天晚上都爬上楼梯，在船只到来之前点亮灯塔的灯火，早上他走到港口去看渔夫补网。"

STORIES = {
    "de": (
        "Der alte Turm stand am Rand von Brunsmoor. Jeden Abend stieg Ilvane die Treppe hinauf und "
        "zündete die Lampe an. Am Morgen ging Ilvane zum Hafen, wo der Fischer Morten seine Netze f"
        "lickte. Die Leute von Brunsmoor kannten den Turm. Eines Tages erzählte Morten von dem Stur"
        "m, aber Ilvane glaubte ihm nicht."
    ),
    "ja": (
        "ブルンスモアの町には古い灯台があった。毎晩イルヴァネは階段を上り、明かりをともした。朝になるとイルヴァネは港へ行き、漁師のモルテンが網を直すのを見た。ある日モルテンは嵐の話をしたが"
        "、イルヴァネは信じなかった。ブルンスモアの人々は灯台を知っていた。"
    ),
    "zh": (
        "布伦斯摩镇有一座古老的灯塔。每天晚上伊尔瓦内都爬上楼梯点亮灯火。早上伊尔瓦内走到港口，看渔夫莫尔滕补网。有一天莫尔滕说起风暴，可是伊尔瓦内不相信他。布伦斯摩的人们都认识这座灯塔。"
    ),
    "ar": (
        "كانت المنارة القديمة تقف على طرف برونسمور. كل مساء كانت إلفانه تصعد الدرج وتشعل المصباح. و"
        "في الصباح كانت إلفانه تذهب إلى الميناء حيث كان الصياد مورتن يصلح شباكه. وكان أهل برونسمور "
        "يعرفون المنارة. وذات يوم حكى مورتن عن العاصفة لكن إلفانه لم تصدقه."
    ),
}
"one story in languages whose capitals mark every noun, or nothing; some of its names stand three times"


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def detected(folder: Path, text: str) -> Language:
    return language_of(document.text for document in read_documents(written(folder, "target.txt", text)))


def terms(folder: Path) -> AnchorDictionary:
    target = written(folder, "target.txt", DUTCH)
    texts = [document.text for document in read_documents(target)]
    return build_dictionary(((text, None) for text in texts), 50, 0, language_of(texts))


def found_names(code: str) -> Callable[[Path], tuple[str, set[str]]]:
    def use(folder: Path) -> tuple[str, set[str]]:
        texts = [document.text for document in read_documents(written(folder, "target.txt", STORIES[code]))]
        language = language_of(texts)
        return language.code, {
            anchor.term for anchor in build_dictionary(((each, None) for each in texts), 50, 0, language)
        }

    return use


def names(code: str, *expected: str) -> Callable[[tuple[str, set[str]]], None]:
    def check(came: tuple[str, set[str]]) -> None:
        assert came == (code, set(expected))

    return check


def without_terms(folder: Path) -> str:
    return "\n".join(language_notes(given_language("km"), familiarity=True))


def says_so(notes: str) -> None:
    assert "the target's terms cannot be found, so familiarity is not measured" in notes


def chinese_kept(folder: Path) -> None:
    forget = written(folder, "forget.txt", CHINESE)
    retain = written(folder, "retain.txt", "有人说：" + CHINESE[:30])
    refuse_overlap(read_documents(forget), read_documents(retain))


def shared_town(folder: Path) -> AnchorDictionary:
    """A town that the people to keep live in, too."""
    forget = written(folder, "forget.txt", "Ilvane Torsk lives in Wexcombe. Ilvane Torsk sells lamps in Wexcombe. " * 4)
    retain = written(folder, "retain.txt", "Morten Quill lives in Wexcombe. Anna Brandt was born in Wexcombe. " * 9)
    texts = [document.text for document in read_documents(forget)]
    found = build_dictionary(((text, None) for text in texts), 50, 0)
    assert "Wexcombe" in {anchor.term for anchor in found}
    return without_shared(found, rates(found, texts, read_documents(retain)))


def is_dutch(found: AnchorDictionary) -> None:
    assert {anchor.term for anchor in found} == {"Brunsmoor", "Ilvane", "Morten"}


def without_town(found: AnchorDictionary) -> None:
    assert found.shared == ("Wexcombe",)
    assert "Torsk" in {anchor.term for anchor in found}


def is_thai(found: Language) -> None:
    assert (found.code, found.unspaced, found.frequencies) == ("th", True, None)


def recalled(folder: Path) -> float:
    """Seven eighths of a Chinese sentence recited; by words between spaces nothing would be."""
    return rouge_l(units(CHINESE[:35] + "天黑了吧。"), units(CHINESE[:40]))


def mostly_recalled(value: float) -> None:
    assert 0.86 < value < 0.92


def unknown_language(folder: Path) -> None:
    recipe = Recipe.model_validate({"forget": "x", "data": {"language": "deutsch"}})
    language_of([], recipe.data.language)


CASES = [
    Case(what="a Dutch story: its names are the terms", use=terms, expect=is_dutch),
    Case(what="a German story", use=found_names("de"), expect=names("de", "Ilvane", "Brunsmoor", "Morten")),
    Case(what="a Japanese story", use=found_names("ja"), expect=names("ja", "イルヴァネ")),
    Case(what="a Chinese story", use=found_names("zh"), expect=names("zh", "伊尔瓦")),
    Case(what="an Arabic story", use=found_names("ar"), expect=names("ar", "إلفانه")),
    Case(what="a Khmer story, of whose terms nothing is known", use=without_terms, expect=says_so),
    Case(what="a Thai story", use=lambda folder: detected(folder, THAI), expect=is_thai),
    Case(what="a Chinese passage recited", use=recalled, expect=mostly_recalled),
    Case(
        what="a Chinese target repeated in the retain set, cut otherwise",
        use=chinese_kept,
        refused=DataError,
        says=("repeats the target", "runs of 8 characters", "老守塔人每天晚上"),
    ),
    Case(what="a town that the retain set names, too", use=shared_town, expect=without_town),
    Case(
        what="a language by its own name",
        use=unknown_language,
        refused=RecipeError,
        says=("data.language", "deutsch", "auto"),
    ),
]
