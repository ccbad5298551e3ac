"""Documents that somebody made to end in a traceback, or to fill the memory: each is read, or refused in words."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from case import Case
from documents import OPEN, WORD, docx, epub, odt, paragraph, pdf, read, refused, sheet, using, zipped

from expunge.data.text.documents import pdf as pdf_reader
from expunge.data.text.documents import sheets
from expunge.data.text.documents import zipped as reader
from expunge.data.text.documents.sheets import sheets_of
from expunge.data.text.unpacking import unpacked
from expunge.errors import DataError

ENTITY = '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE d [<!ENTITY a "grown">]>'
"beginning of XML whose bytes do not show what it declares"


def too_many_tags(folder: Path) -> Any:
    with patch.object(reader, "MOST_TAGS", 1000):
        return using("a.docx", lambda: docx("<w:a/>" * 1000))(folder)


def repacked(content: bytes, change: Callable[[str, bytes], tuple[str, bytes]]) -> bytes:
    """A zip file of which each part (its name, its content) was changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        return zipped(**dict(change(name, file.read(name)) for name in file.namelist()))


def declaring_sheet(encoding: str) -> bytes:
    """A spreadsheet whose cell is an entity."""

    def change(name: str, part: bytes) -> tuple[str, bytes]:
        if name.endswith("sheet1.xml"):
            text = part.decode().replace("<worksheet", '<!DOCTYPE d [<!ENTITY a "grown">]><worksheet', 1)
            part = text.replace("Rain.", "&a;").encode(encoding)
        return name, part

    return repacked(sheet(["text"], ["Rain."]), change)


def repeated(blocks: int) -> bytes:
    """A Zstandard frame of blocks of 128 KiB, each of which is one byte repeated, and takes four."""
    last = blocks - 1
    made = b"".join((131_072 << 3 | 1 << 1 | (number == last)).to_bytes(3, "little") + b"a" for number in range(blocks))
    return b"\x28\xb5\x2f\xfd\0\x38" + made


def held_of_frame(folder: Path) -> Any:
    """Most bytes that are held while the beginning of a frame of 64 MiB is read, and how many were read."""
    path = folder / "a.txt.zst"
    path.write_bytes(repeated(512))
    tracemalloc.start()
    try:
        with path.open("rb") as file:
            content = unpacked(path, file)
            read = sum(len(content.read(1 << 13)) for _ in range(4096))
        return read, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def check_held(came: Any) -> None:
    assert came[0] == 1 << 25
    assert came[1] < 40 << 20


def renamed_sheet(folder: Path) -> Any:
    """A sheet under a name that does not say it is XML, of more bytes than are read."""

    def change(name: str, part: bytes) -> tuple[str, bytes]:
        return name.replace("sheet1.xml", "sheet1.dat"), part.replace(b"sheet1.xml", b"sheet1.dat")

    large = repacked(sheet(["text"], *(["Rain." * 1000] for _ in range(9))), change)
    with patch.object(reader, "MOST", 40_000):
        return using("a.xlsx", lambda: large)(folder)


def far_right(header_too: bool) -> bytes:
    """A spreadsheet of 300 rows, each of which has a cell in the last column that there is; maybe with a name above."""

    def change(name: str, part: bytes) -> tuple[str, bytes]:
        return name, part.replace(b'r="B', b'r="XFD') if "sheet1" in name else part

    return repacked(sheet(["text", "last"] if header_too else ["text"], *[["Rain.", 1]] * 300), change)


def wide_rows(folder: Path) -> Any:
    (folder / "a.xlsx").write_bytes(far_right(header_too=False))
    return [(header, {len(cells) for _, cells in rows}, len(rows)) for _, header, rows in sheets_of(folder / "a.xlsx")]


def check_wide(came: Any) -> None:
    assert came == [(("text",), {1}, 300)]


def too_many_cells(folder: Path) -> Any:
    with patch.object(sheets, "MOST_CELLS", 1 << 20):
        return using("a.xlsx", lambda: far_right(header_too=True))(folder)


def row_far_below(folder: Path) -> Any:
    """A row whose number says that a thousand million empty ones stand before it."""

    def change(name: str, part: bytes) -> tuple[str, bytes]:
        return name, part.replace(b'r="2"', b'r="999999999"').replace(b'r="A2"', b'r="A999999999"')

    with patch.object(sheets, "MOST_CELLS", 1 << 16):
        return using("a.xlsx", lambda: repacked(sheet(["text"], ["Rain."]), change))(folder)


def chapter_of_tags(folder: Path) -> Any:
    with patch.object(reader, "MOST_TAGS_OF_TREE", 13):
        return using("a.epub", epub)(folder)


def pages_of_one_text(folder: Path) -> Any:
    with patch.object(pdf_reader, "MOST_TEXT", 100):
        return using("a.pdf", lambda: pdf(*["The fog lay thick."] * 9))(folder)


CASES = [
    read("a Word document of 3,000 elements within each other", "a.docx",
         lambda: docx("<w:a>" * 3000 + paragraph("Rain.") + "</w:a>" * 3000), "Rain.\n", noted="Word"),
    refused("a Word document of elements without an end of them", "a.docx",
            lambda: docx("<w:a>" * 10_001 + "</w:a>" * 10_001), "nested more than 10,000 deep"),
    refused("a Word document that declares entities in UTF-16", "a.docx",
            lambda: zipped(word__document_dot_xml=f'{ENTITY}<w:d xmlns:w="{WORD}"><w:p><w:t>&a;</w:t></w:p></w:d>'.encode(
                "utf-16")), "word/document.xml declares a document type"),
    refused("an OpenDocument text that declares entities in UTF-16", "a.odt",
            lambda: zipped(content_dot_xml=f'{ENTITY}<t:p xmlns:t="{OPEN}text:1.0">&a;</t:p>'.encode("utf-16")),
            "content.xml declares a document type"),
    refused("an e-book that declares entities in UTF-16", "a.epub",
            lambda: epub(container=f"{ENTITY}<c>&a;</c>".encode("utf-16")), "declares a document type"),
    Case(what="an e-book with a chapter of tags alone", use=chapter_of_tags, refused=DataError,
         says=("a.epub has more than 13 tags", "OEBPS/text/a.xhtml", "next:")),
    refused("an OpenDocument text of spaces by their number", "a.odt", lambda: odt("<t:p><t:s t:c='999'/></t:p>" * 1100),
            "spaces are given by their number"),
    Case(what="a Word document of tags alone", use=too_many_tags, refused=DataError,
         says=("a.docx has more than 1,000 tags", "word/document.xml", "next:")),
    refused("a page that names a codec of bytes", "a.html", lambda: '<meta charset="hex"><p>6869</p>',
            "names an encoding that does not exist", "hex"),
    refused("a page that names a codec that never decodes", "a.html", lambda: '<meta charset="undefined"><p>x</p>',
            "names an encoding that does not exist", "undefined"),
    refused("a page that names a codec of host names", "a.html", lambda: '<meta charset="punycode"><p>x</p>',
            "names an encoding that does not exist", "punycode"),
    *(refused(f"a spreadsheet that declares entities in {encoding}", "a.xlsx",
              lambda encoding=encoding: declaring_sheet(encoding), "xl/worksheets/sheet1.xml declares a document type")
      for encoding in ("UTF-8", "UTF-16")),
    Case(what="a spreadsheet with a sheet of another name", use=renamed_sheet, refused=DataError,
         says=("a.xlsx unpacks to more than", "sheet1.dat", "next:")),
    Case(what="a small file of Zstandard that is a large one", use=held_of_frame, expect=check_held),
    refused("a spreadsheet whose first row is a space", "a.xlsx", lambda: sheet([" "], ["x"]), "without a column"),
    Case(what="a spreadsheet with cells far to the right", use=wide_rows, expect=check_wide),
    *(Case(what=f"a spreadsheet with a {what}", use=use, refused=DataError,
           says=("a.xlsx has more than", "cells, empty ones among them", "sheet People, row", "next:"))
      for what, use in (("name far to the right", too_many_cells), ("row far below", row_far_below))),
    Case(what="a PDF whose pages have too much text together", use=pages_of_one_text, refused=DataError,
         says=("a.pdf has more than 100 characters", "up to page 6", "next:", "pdftotext a.pdf")),
]  # fmt: skip
