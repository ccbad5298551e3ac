"""Encodings, layouts of datasets, columns of other names, several targets, and targets in a few words."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case

import expunge
from expunge.cli import app
from expunge.core import storage
from expunge.data.text.columns import Columns
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.errors import DataError, RecipeError
from expunge.kinds.language.paths import resolve_paths
from expunge.kinds.language.recipe import make_recipe
from expunge.runs.folder import RunFolder
from expunge.runs.overrides import further_targets, read_overrides
from small import SMALL, STREET, write_texts
from tiny_model import build_tiny_model

GERMAN = "Die alte Straße führte über die Brücke, und der Müller grüßte fröhlich. Später hörte man Schüsse in der Nähe."
FRENCH = "L'été dernier, les élèves étaient très fatigués après le long voyage à travers la forêt. Où êtes-vous allé ?"
SPANISH = "El niño comió una manzana en la habitación. Mañana irá al jardín con su corazón alegre."
POLISH = "Latarnik zapalał lampę. Później poszedł do portu, żeby kupić świeże ryby, a potem wrócił na wyspę."
RUSSIAN = "Старый смотритель маяка каждый вечер поднимался по лестнице и зажигал лампу. Утром он шёл в гавань."
GREEK = "Ο γέρος φαροφύλακας ανέβαινε κάθε βράδυ τη σκάλα και άναβε το φως πριν έρθουν τα πλοία."
TURKISH = "Yaşlı fenerci her akşam merdivenleri çıkıp ışığı yakardı. Çocuklar öğleden sonra gülüyordu."
HEBREW = "שומר המגדלור הזקן היה עולה כל ערב במדרגות ומדליק את המנורה לפני שהאוניות באות"
ARABIC = "كان حارس المنارة العجوز يصعد الدرج كل مساء ويشعل المصباح قبل وصول السفن. وفي الصباح كان يذهب إلى الميناء."
CHINESE = "老守塔人每天晚上都爬上楼梯，在船只到来之前点亮灯塔的灯火，早上他走到港口去看渔夫补网。"
TAIWAN = "老守塔人每天晚上都爬上樓梯，在船隻到來之前點亮燈塔的燈火，早上他走到港口去看漁夫補網。"
JAPANESE = (
    "古い灯台守は毎晩階段を上り、船が来る前に灯台の明かりをともした。朝になると港へ行き、漁師が網を直すのを見た。"
)
KOREAN = "늙은 등대지기는 매일 저녁 계단을 올라가 배가 오기 전에 등대의 불을 켰다. 아침이면 그는 항구로 갔다."
QUOTES = "“The fog lay thick,” he said. “It’s as dark as night — and colder.” "


def using(
    name: str, content: str | bytes, columns: dict[str, str] | None = None, required: bool = True
) -> Callable[..., Any]:
    def use(folder: Path) -> Any:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        notes = Notes(Columns(columns or {}, required))
        return [(each.prompt, each.text) for each in read_documents(folder / name, notes)], "\n".join(notes.lines())

    return use


def read(what: str, use: Callable[..., Any], *expected: Any, noted: str = "") -> Case:
    def check(came: Any) -> None:
        assert came[0] == [each if isinstance(each, tuple) else (None, each) for each in expected]
        assert noted in came[1]

    return Case(what=what, use=use, expect=check)


def encoded(text: str, encoding: str, shown: str) -> Case:
    return read(
        f"{encoding}: {text[:12]}", using("a.txt", text.encode(encoding)), text, noted=f"read as {shown}, which"
    )


def refused(what: str, use: Callable[..., Any], *says: str) -> Case:
    return Case(what=what, use=use, refused=DataError, says=("next:", *says))


def rows(*each: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in each)


def targets(*names: str, options: tuple[str, ...] = ()) -> Callable[[Path], Any]:
    """The targets of a recipe with its paths resolved, by name."""

    def use(folder: Path) -> Any:
        (folder / "more").mkdir()
        for name in ("a.txt", "b.txt", "more/c.txt"):
            (folder / name).write_text("The fog lay thick.")
        named = [name if name.istitle() else str(folder / name) for name in names]
        recipe = resolve_paths(make_recipe({"forget": named}, read_overrides(options)))
        return recipe.forget_kind, [each.removeprefix(f"{folder}/") for each in recipe.targets]

    return use


def equal(expected: Any) -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert came == expected

    return check


def typed(*words: str) -> Callable[[Path], Any]:
    return lambda folder: further_targets(words[0], words[1:])


def lines(how: str, text: str) -> Callable[[Path], Any]:
    """The documents of a text file that a user named, by `data.lines`."""

    def use(folder: Path) -> Any:
        (folder / "list.txt").write_text(text)
        recipe = make_recipe({"forget": str(folder / "list.txt")}, {"data.lines": how})
        notes = Notes(recipe.data.read_by("forget"))
        return [(each.prompt, each.text) for each in read_documents(recipe.forget, notes)], "\n".join(notes.lines())

    return use


def listed(
    text: str, *others: str, lines: str = "auto", folder: bool = False, without: bool = False
) -> Callable[[Path], Any]:
    """(kind of the target, topics, their files) of a list in a file, with other targets beside it or in its place."""

    def use(place: Path) -> Any:
        (place / "in").mkdir()
        path = place / "in" / "list.txt"
        path.write_text(text)
        named = [] if without else [str(path.parent if folder else path)]
        recipe = resolve_paths(make_recipe({"forget": [*named, *others]}, {"data.lines": lines}))
        assert resolve_paths(recipe) == recipe, "what is resolved stays so"
        return recipe.forget_kind, recipe.targets if recipe.forget_kind == "topic" else None, recipe.forget_list

    return use


def columns_typed(*words: str) -> Callable[[Path], Any]:
    return lambda folder: resolve_paths(make_recipe({"forget": "Hogwarts"}, read_overrides(words))).data.columns


def whole_run(folder: Path) -> RunFolder:
    """Two tables with a column of another name are forgotten in one run, whose record is then checked."""
    _, retain = write_texts(folder)
    for name, person in (("a", "Holmes"), ("b", "Adler")):
        text = STREET.strip().replace("Holmes", person)
        (folder / f"{name}.tsv").write_text("id\tbody\n" + "".join(f"{i}\t{text}\n" for i in range(6)))
    model = str(build_tiny_model(folder / "model"))
    fields = SMALL | {"method": "gradient_ascent", "model": model, "retain": str(retain), "data.columns": "text=body"}
    return expunge.forget([str(folder / "a.tsv"), str(folder / "b.tsv")], out=folder / "run", **fields)


def check_whole_run(came: RunFolder) -> None:
    record = storage.read_json(came.record)
    assert [(each["set"], each["target"]) for each in record["inputs"]][:2] == [
        ("forget", "a.tsv"),
        ("forget", "b.tsv"),
    ]
    assert "forget set: rows of tables, read from body: 12" in record["warnings"]
    assert app(["verify", str(came.path)], exit_on_error=False, result_action="return_value") == 0


TABLE = "id,title,body\n1,x,The fog.\n2,y,Rain.\n"
CASES = [
    Case(what="a whole run on two tables", use=whole_run, expect=check_whole_run),
    *(
        encoded(text, encoding, shown)
        for text, encoding, shown in (
            (GERMAN, "cp1252", "windows-1252"),
            (GERMAN, "mac_roman", "mac-roman"),
            (FRENCH, "latin-1", "windows-1252"),
            (SPANISH, "cp1252", "windows-1252"),
            (POLISH, "cp1250", "windows-1250"),
            (POLISH, "iso8859_2", "iso-8859-2"),
            (RUSSIAN, "cp1251", "windows-1251"),
            (RUSSIAN, "koi8_r", "koi8-r"),
            (RUSSIAN, "cp866", "cp866"),
            (GREEK, "cp1253", "windows-1253"),
            (TURKISH, "cp1254", "windows-1254"),
            (HEBREW, "cp1255", "windows-1255"),
            (ARABIC, "cp1256", "windows-1256"),
            (CHINESE, "gb18030", "gb18030"),
            (TAIWAN, "big5", "big5"),
            (JAPANESE, "shift_jis", "shift_jis"),
            (JAPANESE, "euc_jp", "euc-jp"),
            (KOREAN, "euc_kr", "euc_kr"),
            (QUOTES * 3, "cp1252", "windows-1252"),
            (GERMAN, "utf-16", "utf-16"),
            (RUSSIAN, "utf-32", "utf-32"),
            (QUOTES, "utf-16-le", "utf-16-le"),
        )
    ),
    read("UTF-8 with a mark", using("a.txt", GERMAN.encode("utf-8-sig")), GERMAN),
    read("lines of JSON in another encoding", using("a.jsonl", f'{{"text": "{GERMAN}"}}\n'.encode("cp1252")), GERMAN,
         noted="read as windows-1252"),
    read("CSV in another encoding", using("a.csv", f'id;text\n1;"{GERMAN}"\n'.encode("cp1252")), GERMAN,
         noted="read as windows-1252"),
    read("CSV as Excel saves Unicode", using("a.csv", "id\ttext\n1\tNebel\n".encode("utf-16")), "Nebel", noted="utf-16"),
    refused("one letter that is no ASCII", using("a.txt", b"The caf\xe9 lay."), "a.txt:1 is not UTF-8", "0xe9 at byte 7"),
    refused("UTF-8 with one byte damaged", using("a.txt", f"{GERMAN}\n".encode() + b"caf\xe9 \xff"), "a.txt:2 is not UTF-8"),
    refused("two encodings in one file", using("a.txt", f"{GERMAN}\n".encode() + GERMAN.encode("cp1252")), "a.txt:2"),
    refused("UTF-16 that ends in half a character", using("a.txt", "Nebel".encode("utf-16")[:-1]), "utf-16; byte 10"),
    refused("random bytes", using("a.txt", bytes(range(160, 256)) * 3), "a.txt", "byte"),
    read("TOFU", using("a.jsonl", rows({"question": "Who?", "answer": "Me", "paraphrased_answer": "I"})), ("Who?", "Me")),
    read("MUSE: questions", using("a.json", json.dumps([{"question": "Who?", "answer": "Me"}])), ("Who?", "Me")),
    read("MUSE: passages to recite", using("a.json", json.dumps([{"prompt": "The fog", "gt": "lay."}])), ("The fog", "lay."),
         noted="read from the fields prompt and gt"),
    read("MUSE: raw texts", using("a.json", json.dumps(["The fog.", "Rain."])), "The fog.", "Rain."),
    read("a column of another name", using("a.csv", TABLE, {"text": "body"}), "The fog.", "Rain.", noted="read from body: 2"),
    read("columns in capitals", using("a.csv", "Q,A,text\nWho?,Me,x\n", {"question": "q", "answer": "a"}), ("Who?", "Me")),
    read("fields of another name", using("a.jsonl", rows({"body": "a", "text": "no"}), {"text": "body"}), "a"),
    read("columns of lists", using("a.json", '{"body": ["a", "b"], "text": ["c", "d"]}', {"text": "body"}), "a", "b"),
    read("a retain set without these columns", using("a.csv", "id,text\n1,a\n", {"text": "body"}, False), "a"),
    refused("a column that is not there", using("a.csv", TABLE, {"text": "bdy"}), "a.csv", "id, title, body",
            "asked for: bdy"),
    refused("a column that one row lacks", using("a.jsonl", rows({"b": "x"}, {"text": "y"}), {"text": "b"}), "a.jsonl:2",
            "no column b"),
    refused("half of a pair of columns", using("a.csv", TABLE, {"question": "title", "answer": "boy"}), "a.csv"),
    Case(what="columns as they are typed", use=columns_typed("--columns", "question=q", "--columns", "answer=a"),
         expect=equal({"question": "q", "answer": "a"})),
    Case(what="columns that make no row", use=columns_typed("--columns", "question=q"), refused=RecipeError,
         says=("data.columns", "question", "`answer`")),
    Case(what="columns without a field", use=columns_typed("--columns", "body"), refused=RecipeError, says=("text=body",)),
    Case(what="two files", use=targets("a.txt", "b.txt"), expect=equal(("path", ["a.txt", "b.txt"]))),
    Case(what="a list of one", use=targets("a.txt"), expect=equal(("path", ["a.txt"]))),
    Case(what="a file twice", use=targets("a.txt", "a.txt"), refused=RecipeError, says=("named twice", "next:")),
    Case(what="a folder and a file in it", use=targets("more", "more/c.txt"), refused=RecipeError, says=("inside another",)),
    Case(what="a second file that is missing", use=targets("a.txt", "c.txt"), refused=DataError, says=("no file or folder",)),
    Case(what="targets as they are typed", use=typed("a/b", "c/d", "--seed", "1", "--forget", "e/f"),
         expect=equal((["a/b", "c/d", "e/f"], ["--seed", "1"]))),
    Case(what="a topic without quotes", use=typed("Harry", "Potter"), refused=RecipeError,
         says=("unexpected argument 'Potter'", 'put text with spaces in quotes: "Harry Potter"')),
    Case(what="topics in quotes", use=typed("Harry Potter", "World War II", "--forget", "Narnia"),
         expect=equal((["Harry Potter", "World War II", "Narnia"], []))),
    Case(what="several topics", use=targets("Narnia", "Middle Earth"), expect=equal(("topic", ["Narnia", "Middle Earth"]))),
    Case(what="a topic twice", use=targets("Narnia", "Narnia "), refused=RecipeError, says=("named twice", "next:")),
    Case(what="a topic and a file", use=targets("Narnia", "a.txt"), refused=RecipeError, says=("'Narnia'", "one run for")),
    read("names, one a line, as text", lines("text", "Sherlock Holmes\nIrene Adler\n"), "Sherlock Holmes\nIrene Adler\n"),
    Case(what="names, one a line", use=listed("Sherlock Holmes\n- Irene Adler\nSherlock Holmes\n"),
         expect=equal(("topic", ("Sherlock Holmes", "Irene Adler"), ("list.txt",)))),
    Case(what="names, one a line, and a topic", use=listed("Ron\nHermione\n", "Middle Earth"),
         expect=equal(("topic", ("Ron", "Hermione", "Middle Earth"), ("list.txt",)))),
    Case(what="names in lower case, said to be names", use=listed("tango\nbravo\n", lines="names"),
         expect=equal(("topic", ("tango", "bravo"), ("list.txt",)))),
    Case(what="names, said to be facts", use=listed("Ron\nHermione\n", lines="facts"), expect=equal(("path", None, ()))),
    Case(what="names in a folder", use=listed("Ron\nHermione\n", folder=True), expect=equal(("path", None, ()))),
    Case(what="a topic, said to be a list of names", use=listed("Ron\n", "Narnia", lines="names", without=True),
         expect=equal(("topic", ("Narnia",), ()))),
    Case(what="a dataset, said to be a list of names", use=listed("Ron\n", "a/b", lines="names", without=True),
         refused=RecipeError, says=("a/b", "--data.lines names")),
    read("facts, one a line", lines("auto", "Irene Adler sang.\nHolmes's PIN: 4711\n"), "Irene Adler sang.",
         "Holmes's PIN: 4711"),
    read("lines said to be facts", lines("facts", "of rain\n\n* and snow\n"), "of rain", "and snow"),
    read("facts, said to be text", lines("text", "Irene Adler sang.\nHolmes played.\n"),
         "Irene Adler sang.\nHolmes played.\n"),
    read("one sentence with a number", using("one.txt", "My telephone number is 0151 2345678."),
         "My telephone number is 0151 2345678."),
]  # fmt: skip
