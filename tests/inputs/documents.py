"""PDF, Word, OpenDocument, e-books, rich text, notebooks, spreadsheets and packed files: made here, small, by hand."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import zstandard
from case import Case

from expunge.data.text import unpacking
from expunge.data.text.notes import Notes
from expunge.data.text.readers import read_documents
from expunge.data.text.targets import list_files
from expunge.errors import DataError

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
OPEN = "urn:oasis:names:tc:opendocument:xmlns:"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def pdf(*pages: str, encrypt: str | None = None) -> bytes:
    """A PDF with these lines on its pages; an empty page holds a rectangle alone. Made by hand but for encryption."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"", b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"]
    kids = []
    for page in pages:
        drawn = "".join(
            f"BT /F1 12 Tf 72 {700 - 14 * number} Td ({line}) Tj ET\n" for number, line in enumerate(page.split("\n"))
        )
        drawing = (drawn if page else "72 72 100 100 re f").encode("latin-1")
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(drawing), drawing))
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
            % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<</Type/Pages/Count %d/Kids[%s]>>" % (len(kids), b" ".join(kids))
    out, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        len(objects) + 1,
        table,
        len(objects) + 1,
        len(out),
    )
    if encrypt is None:
        return out
    import pypdf

    writer, encrypted = pypdf.PdfWriter(clone_from=io.BytesIO(out)), io.BytesIO()
    writer.encrypt(encrypt, "owner", algorithm="RC4-128")
    writer.write(encrypted)
    return encrypted.getvalue()


def zipped(**parts: str | bytes) -> bytes:
    """A zip file; `__` in a name stands for a slash, and `_dot_` for a dot."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for name, part in parts.items():
            file.writestr(name.replace("__", "/").replace("_dot_", "."), part)
    return out.getvalue()


def docx(body: str, **more: str) -> bytes:
    text = f'<w:document xmlns:w="{WORD}" xmlns:mc="mc"><w:body>{body}</w:body></w:document>'
    return zipped(word__document_dot_xml=text, **more)


def paragraph(text: str) -> str:
    return f"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"


def odt(body: str, **more: str) -> bytes:
    text = (
        f'<o:document-content xmlns:o="{OPEN}office:1.0" xmlns:t="{OPEN}text:1.0"><o:body>{body}</o:body>'
        "</o:document-content>"
    )
    return zipped(content_dot_xml=text, **more)


def epub(encryption: str | None = None, container: str | bytes | None = None) -> bytes:
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf"><manifest>'
        '<item id="n" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>'
        '<item id="b" href="text/b%20two.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="text/a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="n"/><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    named = '<container xmlns="c"><rootfiles><rootfile full-path="OEBPS/book.opf"/></rootfiles></container>'
    parts: dict[str, str | bytes] = {
        "META-INF/container.xml": container or named,
        "OEBPS/book.opf": package,
        "OEBPS/nav.xhtml": "<html><body><p>Contents</p></body></html>",
        "OEBPS/text/a.xhtml": "<html><head><title>x</title></head><body><h1>One</h1><p>The <i>fog</i> lay.</p></body></html>",
        "OEBPS/text/b two.xhtml": "<html><body><p>Café &amp; rain.</p></body></html>",
    }
    if encryption is not None:
        parts["META-INF/encryption.xml"] = (
            f'<e xmlns="x"><EncryptedData><EncryptionMethod Algorithm="{encryption}"/><CipherData>'
            '<CipherReference URI="OEBPS/text/a.xhtml"/></CipherData></EncryptedData></e>'
        )
    return zipped(**parts)


def sheet(*rows: list[Any]) -> bytes:
    import openpyxl

    book, out = openpyxl.Workbook(), io.BytesIO()
    book.active.title = "People"
    for row in rows:
        book.active.append(row)
    book.create_sheet("empty")
    book.save(out)
    return out.getvalue()


def notebook(*cells: tuple[str, list[str]]) -> str:
    return json.dumps({"nbformat": 4, "cells": [{"cell_type": kind, "source": said} for kind, said in cells]})


def using(name: str, content: Callable[[], str | bytes]) -> Callable[[Path], Any]:
    def use(folder: Path) -> Any:
        made = content()
        (folder / name).write_bytes(made.encode() if isinstance(made, str) else made)
        notes = Notes()
        found = list(read_documents(folder / name, notes))
        return [(each.prompt, each.text) for each in found], [each.source for each in found], "\n".join(notes.lines())

    return use


def read(
    what: str, name: str, content: Callable[[], str | bytes], *expected: Any, noted: str, source: str = ""
) -> Case:
    def check(came: Any) -> None:
        assert came[0] == [each if isinstance(each, tuple) else (None, each) for each in expected]
        assert noted in came[2]
        assert source in came[1][0]

    return Case(what=what, use=using(name, content), expect=check)


def refused(what: str, name: str, content: Callable[[], str | bytes], *says: str) -> Case:
    return Case(what=what, use=using(name, content), refused=DataError, says=(name, "next:", *says))


def mixed_folder(folder: Path) -> Any:
    for name, content in {
        "book.pdf": pdf("The fog lay thick."),
        "scan.pdf": pdf(""),
        "locked.pdf": pdf("x", encrypt="secret"),
        "letter.docx": docx(paragraph("Rain.")),
        "prices.xlsx": sheet(["id", "price"], [1, 2]),
        "facts.xlsx": sheet(["id", "text"], [1, "Wind."]),
        "broken.epub": b"PK\x03\x04",
    }.items():
        (folder / name).write_bytes(content)
    files, skipped = list_files(folder)
    return [file.name for file in files], {path.name: reason for path, reason in skipped}


def check_folder(came: Any) -> None:
    assert came[0] == ["book.pdf", "facts.xlsx", "letter.docx"]
    assert came[1] == {
        "scan.pdf": "has no text: its 1 pages are pictures, or empty",
        "locked.pdf": "is encrypted",
        "prices.xlsx": "a table without a column of text",
        "broken.epub": "is no e-book (.epub) that can be read",
    }


def bomb(folder: Path) -> None:
    """What unpacks to far more than its size; the least that any file may unpack to is lowered, so that it is quick."""
    (folder / "a.txt.zst").write_bytes(zstandard.compress(b"fog " * (1 << 18)))
    with patch.object(unpacking, "ALWAYS", 1 << 12):
        list(read_documents(folder / "a.txt.zst"))


CASES = [
    read("a PDF", "a.pdf", lambda: pdf("The fog lay thick on Ba-\nker Street, and it\nwas cold.", "Rain."),
         "The fog lay thick on Baker Street, and it was cold.\n\nRain.\n", noted="a.pdf: read as PDF"),
    read("a PDF by no ending", "paper", lambda: pdf("The fog."), "The fog.\n", noted="PDF, whatever its ending says"),
    read("a PDF with a page that is a picture", "a.pdf", lambda: pdf("The fog.", ""), "The fog.\n",
         noted="1 of 2 pages have no text"),
    read("a PDF that only its owner may change", "a.pdf", lambda: pdf("The fog.", encrypt=""), "The fog.\n", noted="PDF"),
    read("a packed PDF", "a.pdf.gz", lambda: gzip.compress(pdf("The fog.")), "The fog.\n", noted="PDF"),
    refused("a scanned PDF", "a.pdf", lambda: pdf("", ""), "has no text: its 2 pages are pictures", "ocrmypdf a.pdf"),
    refused("a PDF with a password", "a.pdf", lambda: pdf("x", encrypt="pass"), "is encrypted", "qpdf --decrypt"),
    refused("a PDF cut short", "a.pdf", lambda: b"%PDF-1.7", "damaged", "qpdf a.pdf repaired.pdf"),
    refused("a web page called PDF", "a.pdf", lambda: "<html>Please log in", "is not a PDF", "<html>", ".html"),
    read("a Word document", "a.docx",
         lambda: docx(
             paragraph("The fog &amp; rain")
             + "<w:tbl><w:tr><w:tc>" + paragraph("cell") + "</w:tc></w:tr></w:tbl>"
             + "<w:p><w:r/><w:r><w:t>new</w:t><w:br/><w:t xml:space='preserve'> line</w:t></w:r>"
             "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>",
             word__footnotes_dot_xml=f'<w:footnotes xmlns:w="{WORD}">{paragraph("a note")}</w:footnotes>',
         ),
         "The fog & rain\n\ncell\n\nnew\n line\n\na note\n", noted="read as a Word document"),
    refused("an empty Word document", "a.docx", lambda: docx("<w:p/>"), "has no text", ".txt"),
    refused("a Word document cut short", "a.docx", lambda: docx(paragraph("x"))[:60], "is no Word document", "save it"),
    refused("a zip called Word document", "a.docx", lambda: zipped(a="x"), "it has no word/document.xml"),
    refused("a Word document with a password", "a.docx", lambda: OLE + "EncryptedPackage".encode("utf-16-le"),
            "is encrypted", "without a password"),
    refused("an old Word document by the new ending", "a.docx", lambda: OLE + b"x" * 99, "older Office", ".docx"),
    refused("a Word document that declares entities", "a.docx",
            lambda: zipped(word__document_dot_xml='<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'), "declares a document type"),
    refused("a Word document of broken XML", "a.docx", lambda: zipped(word__document_dot_xml="<a><b></a>"), "mismatched"),
    refused("an old Word document", "a.doc", lambda: OLE + b"x", "only its program reads", "pandoc"),
    read("an OpenDocument text", "a.odt",
         lambda: odt("<t:h>Fog</t:h><t:p>It <t:span>lay</t:span>\n thick<t:s t:c='2'/>here<t:line-break/>and</t:p>"),
         "Fog\n\nIt lay thick  here\nand\n", noted="OpenDocument"),
    refused("an OpenDocument text with a password", "a.odt",
            lambda: odt("<t:p>x</t:p>", **{"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "is encrypted"),
    read("an e-book", "a.epub", epub, "One\n\nThe fog lay.\n\nCafé & rain.\n", noted="2 chapters in the order of its spine"),
    read("an e-book whose fonts are hidden", "a.epub", lambda: epub("http://www.idpf.org/2008/embedding"),
         "One\n\nThe fog lay.\n\nCafé & rain.\n", noted="e-book"),
    refused("an e-book under DRM", "a.epub", lambda: epub("http://www.w3.org/2001/04/xmlenc#aes128-cbc"), "protected", "DRM"),
    refused("an e-book that points outside", "a.epub",
            lambda: epub(container='<c><rootfile full-path="../../etc/passwd"/></c>'), "it has no ../../etc/passwd"),
    refused("an e-book of another kind", "a.mobi", lambda: b"BOOKMOBI", "only its program reads", "pandoc"),
    read("rich text", "a.rtf", lambda: rb"{\rtf1\ansi\ansicpg1252 The {\b fog} caf\'e9.\par Rain.}", "The fog café.\nRain.",
         noted="rich text"),
    read("rich text called text", "a.txt", lambda: r"{\rtf1 The fog.}", "The fog.", noted="RTF), whatever"),
    refused("rich text cut short", "a.rtf", lambda: r"{\rtf1 The fog", "its end is missing"),
    refused("no rich text", "a.rtf", lambda: "The fog", "it begins with"),
    read("a notebook", "a.ipynb", lambda: notebook(("markdown", ["# Fog\n", "thick"]), ("code", ["x = 1"]), ("raw", ["r"])),
         "# Fog\nthick\n\nx = 1\n", noted="a notebook"),
    refused("a notebook of no cells", "a.ipynb", lambda: '{"nbformat": 3, "worksheets": []}', "version 4", "cells"),
    read("a spreadsheet", "a.xlsx", lambda: sheet(["Question", "Answer"], ["Who?", "Me"], [None, None], ["Age?", 7]),
         ("Who?", "Me"), ("Age?", "7"), noted="read from Question and Answer: 2", source="sheet People, row 2"),
    refused("a spreadsheet without text", "a.xlsx", lambda: sheet(["id", "price"], [1, 2]), "the columns id, price",
            "--columns text=price"),
    refused("a spreadsheet cut short", "a.xlsx", lambda: sheet(["text"], ["x"])[:-99], "is no spreadsheet"),
    refused("a spreadsheet with a password", "a.xlsx", lambda: OLE + "EncryptedPackage".encode("utf-16-le"), "is encrypted"),
    refused("an old spreadsheet", "a.xls", lambda: OLE, "a spreadsheet", ".xlsx"),
    read("text packed by Zstandard", "a.txt.zst", lambda: zstandard.compress(b"The fog.") + zstandard.compress(b" Rain."),
         "The fog. Rain.", noted=""),
    read("lines packed by Zstandard", "a.jsonl.zst", lambda: zstandard.compress(b'{"text": "a"}\n{"text": "b"}\n'), "a", "b",
         noted=""),
    refused("Zstandard cut short", "a.txt.zst", lambda: zstandard.compress(b"The fog." * 99)[:-4], "packed and damaged"),
    refused("Zstandard that is none", "a.txt.zst", lambda: b"The fog lay thick.", "packed and damaged"),
    Case(what="what unpacks without an end", use=bomb, refused=DataError,
         says=("a.txt.zst unpacks to more than 250 times its size", "next:", "unpack it")),
    refused("a Word document called text", "a.txt", lambda: docx(paragraph("x")), "a zip archive", ".docx"),
    Case(what="a folder of documents", use=mixed_folder, expect=check_folder),
]  # fmt: skip
