"""What a file holds, from its name and its first bytes: prose, rows, a table, a web page, or what cannot be read."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Form = Literal[
    "text",
    "json lines",
    "json",
    "yaml",
    "table",
    "html",
    "subtitles",
    "parquet",
    "arrow",
    "mail",
    "pdf",
    "word",
    "open document",
    "book",
    "rich text",
    "notebook",
    "sheets",
]

PROSE = (".txt", ".text", ".md", ".markdown", ".mdown", ".rst", ".adoc", ".asciidoc", ".org")
"endings of plain text; the marks of the light ones stay in it"
CODE = (
    *(".py", ".pyi", ".js", ".mjs", ".jsx", ".ts", ".tsx", ".java", ".kt", ".scala", ".c", ".h", ".cc", ".cpp", ".hpp"),
    *(".cs", ".go", ".rs", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".swift", ".sh", ".bash", ".zsh", ".ps1", ".bat"),
    *(".sql", ".css", ".scss", ".vue", ".hs", ".ml", ".ex", ".clj", ".f90", ".asm", ".cu", ".zig"),
)
"endings of source code, which is text as it stands"
COLUMNAR = (".parquet", ".pq", ".arrow", ".feather")
"endings of tables that are not text, read by pyarrow"
PACKED = (".gz", ".bz2", ".xz", ".zst")
"endings of files that are unpacked while they are read"
DOCUMENTS: dict[str, Form] = {
    ".pdf": "pdf",
    **dict.fromkeys((".docx", ".docm"), "word"),
    **dict.fromkeys((".odt", ".ott"), "open document"),
    ".epub": "book",
    ".rtf": "rich text",
    ".ipynb": "notebook",
    **dict.fromkeys((".xlsx", ".xlsm"), "sheets"),
}
"endings of documents, each read by a reader of its own, whatever its first bytes are"
_FORMS: dict[str, Form] = {
    **DOCUMENTS,
    **dict.fromkeys(PROSE, "text"),
    **dict.fromkeys(CODE, "text"),
    **dict.fromkeys((".jsonl", ".ndjson"), "json lines"),
    ".json": "json",
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    **dict.fromkeys((".csv", ".tsv", ".tab", ".psv"), "table"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".srt", ".vtt"), "subtitles"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".arrow", ".feather"), "arrow"),
    **dict.fromkeys((".eml", ".mbox"), "mail"),
}
_PANDOC = "save it as plain text first: pandoc -t plain FILE -o FILE.txt"
_REFUSED = {
    **dict.fromkeys((".tex", ".latex", ".sty", ".bib"), ("LaTeX, not prose", _PANDOC)),
    ".fb2": ("an e-book in XML", _PANDOC),
    **dict.fromkeys((".doc", ".mobi", ".azw3", ".pages"), ("a document that only its program reads", _PANDOC)),
    **dict.fromkeys(
        (".xml", ".tei", ".rss", ".xsl", ".svg"),
        ("XML, of which it is not known which elements are text", 'write the text as JSON lines: {"text": "..."}'),
    ),
    **dict.fromkeys((".mht", ".mhtml"), ("a saved web page with all its parts", "save it as .html")),
    **dict.fromkeys((".xls", ".ods"), ("a spreadsheet", "save it as .xlsx or .csv, with a column `text`")),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), ("an archive", "unpack it, and name the folder")),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".bin", ".npy", ".npz", ".h5", ".db", ".sqlite"),
        ("data of a program, not text", 'write the text as JSON lines: {"text": "..."}'),
    ),
}
KNOWN = (*_FORMS, *_REFUSED, *PACKED)
"every ending that is known: words that end so are meant as a file's name"
AS_TEXT = "to have it read as it stands, give it the ending .txt"

_HTML = re.compile(
    r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_FRAGMENT = re.compile(r"\s*<(div|p|span|table|section|article|main|h[1-6]|ul|ol|meta|title)\b[^>]*>", re.IGNORECASE)
_CLOSING = re.compile(r"</[a-z][a-z0-9]*\s*>", re.IGNORECASE)
_XML = re.compile(r"\s*<\?xml\b", re.IGNORECASE)
_OBJECT = re.compile(r'\s*\{\s*"[^"\n]*"\s*:')
_OBJECTS = re.compile(r"\s*\[\s*[{\[]\s*\"")
_SUBTITLES = re.compile(r"\s*(WEBVTT\b|(\d+\s*\n)?\d{1,2}:\d{2}:\d{2}[,.]\d{3}\s*-->)")
_LATEX = re.compile(r"^\s*\\(documentclass|begin\{document\}|usepackage)", re.MULTILINE)
_NAME = re.compile(r"[\w#][\w .\-/#()]{0,39}")
_CODE_MARKS = frozenset("{}[]<>=\\|_#$^&*@~;+/")


@dataclass(frozen=True, slots=True)
class FileKind:
    """What a file holds."""

    form: Form | None
    "how it is read; None for what is not"
    reason: str | None = None
    "why it is not read; or what it is, where its ending says something else"
    next_step: str | None = None
    "what can be done where it is not read"


def ending(name: str) -> str:
    """The ending that tells the form, in lower case: `.csv` of `a.CSV` and of `a.csv.gz`."""
    path = PurePath(name.lower())
    if path.suffix in PACKED:
        path = path.with_suffix("")
        if path.suffix == ".tar":
            return ".tar"
    return path.suffix


def known_endings(name: str) -> str:
    """What of a file's name decides how it is read, in lower case: `.jsonl.gz` of `mails.JSONL.gz`, nothing of `Dr. No`."""
    form, packing = ending(name), PurePath(name.lower()).suffix
    return (form if form in KNOWN else "") + (packing if packing in PACKED else "")


def refused_by_name(name: str) -> FileKind | None:
    """Why a file is not read, where its ending alone says it; XML may be a web page, which stands inside."""
    known = ending(name)
    return FileKind(None, *_REFUSED[known]) if known in _REFUSED and known != ".xml" else None


def file_kind(name: str, head: str, whole: bool) -> FileKind:
    """What a file holds, by its name and its first characters; `whole` where these are all of it."""
    known = ending(name)
    if known in _REFUSED:
        if known == ".xml" and _HTML.match(head):
            return FileKind("html", "HTML")
        return FileKind(None, *_REFUSED[known])
    form = _FORMS.get(known)
    if form == "json":
        lines = head.lstrip().startswith("{") and _first_line_is_json(head)
        return _notebook(head) or FileKind("json lines" if lines else "json")
    if form == "json lines" and head.lstrip().startswith("[") and not _first_line_is_json(head):
        return FileKind("json", "a JSON list")
    if form is not None and form != "text":
        return FileKind(form)
    if known in CODE:
        return FileKind("text")
    if inside := _inside(head, known, whole):
        return inside
    if form is None and not looks_like_prose(head):
        what = f"{known} is not an ending of text that is known" if known else "its name has no ending"
        return FileKind(None, f"{what}, and it does not read like prose", AS_TEXT)
    return FileKind("text")


def _inside(head: str, known: str, whole: bool) -> FileKind | None:
    """What text turns out to be, whatever it is called; None for what may be prose."""
    if head.lstrip().startswith("{\\rtf"):
        return FileKind("rich text", "rich text (RTF)")
    if head.startswith("%PDF-"):
        return FileKind("pdf", "PDF")
    if _HTML.match(head) or (known in (".txt", ".text", "") and _FRAGMENT.match(head) and _many_tags(head)):
        return FileKind("html", "HTML")
    if _XML.match(head):
        return FileKind(None, *_REFUSED[".xml"])
    if _SUBTITLES.match(head):
        return FileKind("subtitles", "subtitles")
    if found := _notebook(head):
        return found
    if _OBJECT.match(head):
        if _first_line_is_object(head, whole):
            return FileKind("json lines", "JSON lines")
        if not whole or _is_json(head):
            return FileKind("json", "JSON")
    if _OBJECTS.match(head) and (not whole or _is_json(head)):
        return FileKind("json", "JSON")
    if known in (".md", ".markdown", ".mdown", ".rst", ".adoc", ".asciidoc", ".org"):
        return None
    if _LATEX.search(head[:4096]):
        return FileKind(None, *_REFUSED[".tex"])
    return FileKind("table", "a table") if looks_like_table(head, whole) else None


def _notebook(head: str) -> FileKind | None:
    if re.match(r'\s*\{\s*"(cells|nbformat|metadata)"\s*:', head) and '"cell_type"' in head:
        return FileKind("notebook", "a notebook")
    return None


def _many_tags(head: str) -> bool:
    return len(_CLOSING.findall(head)) >= 3 and bool(_CLOSING.search(head[len(head) // 2 :]))


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _first_line_is_object(head: str, whole: bool) -> bool:
    """Whether the first line is an object by itself: so begin JSON lines."""
    line, more, _ = head.lstrip().partition("\n")
    if not line.startswith("{") or not (more or whole):
        return line.startswith("{") and not whole  # a first line longer than the head
    return _is_json(line)


def _first_line_is_json(head: str) -> bool:
    """Whether a first line stands by itself, with others after it."""
    line, more, rest = head.lstrip().partition("\n")
    return bool(more and rest.strip()) and _is_json(line)


def looks_like_table(head: str, whole: bool) -> bool:
    """Whether text is rows of cells: a line of names, and lines with as many cells each as there are names."""
    lines = head.splitlines()
    lines = [line for line in (lines if whole else lines[:-1])[:60] if line.strip()]
    for delimiter, least in (("\t", 2), (",", 3), (";", 3), ("|", 3)):
        if len(lines) < 3 or lines[0].count(delimiter) < least - 1:
            continue
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE if delimiter == "\t" else 0))
        except csv.Error:
            continue
        names = [name.strip().strip('"') for name in rows[0]]
        named = len(set(names)) == len(names) and all(map(_NAME.fullmatch, names))
        if named and len(rows) >= (3 if delimiter == "\t" else 4) and {len(row) for row in rows} == {len(names)}:
            return True
    return False


def looks_like_prose(text: str) -> bool:
    """Whether text of unknown kind is running text in any language: letters above all, few marks of code or figures."""
    seen = [char for char in text if not char.isspace()]
    if not seen:
        return True
    letters = sum(unicodedata.category(char)[0] in "LM" for char in seen)
    digits = sum(char.isdigit() for char in seen)
    code = sum(char in _CODE_MARKS for char in seen)
    if letters < 0.7 * len(seen) or digits > 0.12 * len(seen) or code > 0.03 * len(seen):
        return False
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # A list of words, one a line, is not prose.
    return len(lines) < 8 or sum(map(len, lines)) / len(lines) >= 16
