"""Files of text of every kind: read as what they are, or refused with the reason."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

from case import Case

from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.data.text.targets import list_files
from expunge.errors import DataError

PAGE = (
    "<!DOCTYPE html><html><head><title>Tab</title><style>p {color: red}</style></head><body><nav><a>Home</a></nav>"
    "<h1>The  Fog</h1><p>It lay <b>thick</b>\non Baker Street.<br>Holmes &amp; Watson</p><!-- not said -->"
    "<p hidden>secret</p><script>track()</script><ul><li>one</li><li>two</li></ul></body></html>"
)
PAGE_SAYS = "The Fog\n\nIt lay thick on Baker Street.\nHolmes & Watson\n\none\ntwo\n"


def using(name: str, content: str | bytes) -> Callable[[Path], tuple[list[tuple[str | None, str]], str]]:
    """(question, text) of each document, and the notes, of one file."""

    def use(folder: Path) -> tuple[list[tuple[str | None, str]], str]:
        path = folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        notes = Notes()
        return [(each.prompt, each.text) for each in read_documents(path, notes)], "\n".join(notes.lines())

    return use


def gives(*expected: tuple[str | None, str], noted: str = "") -> Callable[[Any], None]:
    def check(came: tuple[list[tuple[str | None, str]], str]) -> None:
        assert came[0] == list(expected)
        assert noted in came[1]

    return check


def texts(*expected: str, noted: str = "") -> Callable[[Any], None]:
    return gives(*((None, text) for text in expected), noted=noted)


def refused(what: str, name: str, content: str | bytes, *says: str) -> Case:
    return Case(what=what, use=using(name, content), refused=DataError, says=(name, "next:", *says))


def folder_of_everything(folder: Path) -> tuple[list[str], dict[str, str]]:
    for name, content in {
        "book.txt": "The fog lay thick.",
        "page.html": PAGE,
        "rows.csv": "id,text\n1,kept\n",
        "prices.csv": "id,price\n1,2\n",
        "state.json": '{"_split": "train", "_fingerprint": "ab"}',
        "config.yaml": "learning_rate: 0.1\n",
        "load.py": "print('x')\n",
        "paper.tex": "\\documentclass{article}",
        "run.log": "12:00:01,123 [3] k=1; 12:00:02,456 [4] k=2\n" * 9,
        "scan.pdf": "%PDF-1.7",
    }.items():
        (folder / name).write_text(content)
    files, skipped = list_files(folder)
    return [file.name for file in files], {path.name: reason for path, reason in skipped}


def check_folder(came: tuple[list[str], dict[str, str]]) -> None:
    read, skipped = came
    assert read == ["book.txt", "page.html", "rows.csv"]
    assert set(skipped) == {"prices.csv", "state.json", "config.yaml", "load.py", "paper.tex", "run.log", "scan.pdf"}
    assert "without a column of text (id, price)" in skipped["prices.csv"]
    assert "source code" in skipped["load.py"]
    assert "LaTeX" in skipped["paper.tex"]
    assert ".log" in skipped["run.log"]
    assert "damaged" in skipped["scan.pdf"]


def folder_of_code(folder: Path) -> list[str]:
    for name in ("a.py", "b.py", "README.md"):
        (folder / name).write_text("x = 1\n")
    return [file.name for file in list_files(folder)[0]]


def same(expected: Any) -> Callable[[Any], None]:
    def check(came: Any) -> None:
        assert came == expected

    return check


def arrow(folder: Path) -> list[tuple[str | None, str]]:
    import pyarrow as pa

    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    table = pa.table({"id": [1], "messages": [turns]})
    with (
        pa.OSFile(str(folder / "data-00000-of-00001.arrow"), "wb") as file,
        pa.ipc.new_stream(file, table.schema) as out,
    ):
        out.write_table(table)
    import pyarrow.parquet as pq

    pq.write_table(table, folder / "rows.parquet")
    (folder / "dataset_info.json").write_text('{"features": {}}')
    return [(each.prompt, each.text) for each in read_documents(folder)]


CASES = [
    Case(
        what="a web page", use=using("page.html", PAGE), expect=texts(PAGE_SAYS, noted="page.html: read as a web page")
    ),
    Case(what="a web page by another ending", use=using("page.HTM", PAGE), expect=texts(PAGE_SAYS)),
    Case(what="a web page called text", use=using("page.txt", PAGE), expect=texts(PAGE_SAYS, noted="HTML, whatever")),
    Case(what="a web page without an ending", use=using("index", PAGE), expect=texts(PAGE_SAYS)),
    Case(
        what="a web page in the encoding it names",
        use=using("page.html", '<meta charset="windows-1252"><p>café “fog”</p>'.encode("cp1252")),
        expect=texts("café “fog”\n"),
    ),
    Case(
        what="a web page in two bytes a character",
        use=using("page.html", "<p>東京</p>".encode("utf-16")),
        expect=texts("東京\n"),
    ),
    refused("a web page that names no encoding", "page.html", b"<p>caf\xe9</p>", "is not UTF-8", "0xe9"),
    Case(
        what="a JSON list of objects",
        use=using("rows.json", '[{"text": "a"}, {"question": "q", "answer": "b"}]'),
        expect=gives((None, "a"), ("q", "b")),
    ),
    Case(what="JSON columns", use=using("rows.json", '{"text": ["a", "b"], "id": [1, 2]}'), expect=texts("a", "b")),
    Case(what="pandas' JSON", use=using("rows.json", '{"text": {"0": "a", "1": "b"}}'), expect=texts("a", "b")),
    Case(what="a JSON list of texts", use=using("rows.json", '["a", "b"]'), expect=texts("a", "b")),
    Case(what="rows within JSON", use=using("r.json", '{"v": 1, "data": [{"text": "a"}]}'), expect=texts("a")),
    Case(what="one pretty JSON object", use=using("r.json", '{\n  "text": "a"\n}\n'), expect=texts("a")),
    Case(what="JSON lines called JSON", use=using("r.json", '{"text": "a"}\n{"text": "b"}'), expect=texts("a", "b")),
    Case(what="JSON lines called text", use=using("r.txt", '{"text": "a"}\n{"text": "b"}'), expect=texts("a", "b")),
    Case(what="JSON called text", use=using("r.txt", '[\n{"text": "a"}\n]'), expect=texts("a", noted="JSON, whatever")),
    Case(what="a JSON list called lines", use=using("r.jsonl", '[{"text": "a"}]'), expect=texts("a")),
    Case(what="packed JSON lines", use=using("r.jsonl.gz", gzip.compress(b'{"text": "a"}\n')), expect=texts("a")),
    refused("a packed file cut short", "book.txt.gz", gzip.compress(b"The fog lay thick.")[:-6], "damaged"),
    refused("JSON without text", "package.json", '{"name": "x", "version": "1"}', "name, version", "`text`"),
    Case(
        what="YAML rows",
        use=using("r.yaml", "- text: a\n- question: q\n  answer: b\n"),
        expect=gives((None, "a"), ("q", "b")),
    ),
    refused("YAML settings", "config.yml", "learning_rate: 0.1\n", "learning_rate"),
    Case(
        what="subtitles",
        use=using(
            "film.srt",
            "1\n00:00:01,000 --> 00:00:02,000\n<i>Watson!</i>\n\n2\n00:00:03,000 --> 00:00:04,000\nHolmes?\n",
        ),
        expect=texts("Watson!\nHolmes?\n", noted="subtitles"),
    ),
    Case(
        what="web subtitles",
        use=using(
            "film.vtt",
            "WEBVTT\n\nNOTE by me\n\nintro\n00:01.000 --> 00:02.000\nWatson!\n\n00:02.000 --> 00:03.000\nWatson!\n",
        ),
        expect=texts("Watson!\n"),
    ),
    Case(
        what="a mail",
        use=using(
            "a.eml",
            "From: w@x.y\nSubject: The fog\nContent-Type: text/html; charset=utf-8\n\n<p>It lay <b>thick</b>.</p>",
        ),
        expect=texts("The fog\n\nIt lay thick.", noted="mail"),
    ),
    Case(
        what="a box of mail",
        use=using("a.mbox", "From a Mon\nSubject: A\n\none\n\nFrom b Tue\nSubject: B\n\ntwo\n"),
        expect=texts("A\n\none", "B\n\ntwo"),
    ),
    Case(
        what="Markdown stays",
        use=using("a.md", "# Fog\n\nIt *lay* thick.\n"),
        expect=texts("# Fog\n\nIt *lay* thick.\n"),
    ),
    Case(
        what="code stays",
        use=using("a.py", "def f():\n    return 1\n"),
        expect=texts("def f():\n    return 1\n", noted="code"),
    ),
    Case(
        what="prose of an unknown ending",
        use=using("notes.1st", "The fog lay thick on Baker Street."),
        expect=texts("The fog lay thick on Baker Street."),
    ),
    Case(
        what="verse is no table",
        use=using(
            "verse.txt", "Fog, thick, and grey,\nlay, still, all day,\non Baker, street, and way,\nso, they, say,\n"
        ),
        expect=texts("Fog, thick, and grey,\nlay, still, all day,\non Baker, street, and way,\nso, they, say,\n"),
    ),
    Case(
        what="a marginal bracket",
        use=using("a.txt", "[Illustration]\n\nThe fog."),
        expect=texts("[Illustration]\n\nThe fog."),
    ),
    refused("a log", "run.log", "2024-01-01 10:00:00,123 [main] id=3\n" * 20, ".log", ".txt"),
    refused("settings of an unknown ending", "a.conf", "key = {1: [2], 3: [4]}\n" * 9, ".conf", ".txt"),
    refused("XML", "a.xml", '<?xml version="1.0"?><a><b>x</b></a>', "XML", '{"text": "..."}'),
    refused("LaTeX", "a.tex", "\\documentclass{article}", "LaTeX", "pandoc -t plain a.tex -o a.txt"),
    refused("LaTeX called text", "a.txt", "\\documentclass{article}\n\\begin{document}", "LaTeX"),
    refused("an archive", "a.zip", b"PK\x03\x04x", "archive", "unpack"),
    Case(what="a folder of everything", use=folder_of_everything, expect=check_folder),
    Case(what="a folder of code", use=folder_of_code, expect=same(["a.py", "b.py"])),
    Case(what="a dataset as `datasets` saves it", use=arrow, expect=same([("q", "a"), ("q", "a")])),
]
