"""Word, OpenDocument and EPUB: zip files of XML; nothing in them is run or looked up."""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree.ElementTree import Element, ParseError, TreeBuilder

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import XMLParser, iterparse

from expunge.data.text.documents.paragraphs import Paragraphs, local_name
from expunge.data.text.markup import html_text
from expunge.errors import DataError

MOST = 1 << 28
"most bytes that the text of a document may unpack to"
MOST_TAGS, MOST_TAGS_OF_TREE = 1 << 23, 1 << 20
"most tags in its XML, each of which costs some microseconds; and where a tree is built, a hundred bytes"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"what files of the older Office begin with, and encrypted ones of the newer"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"kinds of encryption that hide fonts alone"
_WORD_UNREAD = ("Fallback", "moveFrom", "instrText", "delText", "pPr", "rPr", "sectPr", "tblPr", "tcPr")
"what Word does not show: a second form of the same, what was deleted or moved away, and properties"
_OPEN_UNREAD = ("annotation", "tracked-changes", "sequence-decls", "note-citation")


class Zipped:
    """The parts of a zip file that hold a document.

    Raises:
        DataError: encrypted, damaged, or no such file at all; parts that unpack to more than `MOST` bytes.
    """

    def __init__(self, content: bytes, path: Path, kind: str) -> None:
        self.path, self.kind, self._left, self._tags = path, kind, MOST, MOST_TAGS
        if content.startswith(_OLE):
            self._refuse_ole(content)
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(content))
            self.names = set(self._zip.namelist())
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise self.damaged(error) from error

    def read(self, name: str) -> bytes:
        """A part. Raises DataError where it is missing, damaged, encrypted or too large."""
        if name not in self.names:
            raise self.damaged(f"it has no {name}")
        try:
            with self._zip.open(name) as part:
                found = part.read(self._left + 1)
        except RuntimeError as error:  # needs a password
            raise self.encrypted() from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError) as error:
            raise self.damaged(f"{name}: {error}") from error
        self._left -= len(found)
        if self._left < 0:
            raise self._too_large(f"unpacks to more than {MOST >> 20} MiB of text", name)
        return found

    def read_xml(self, name: str, most: int = MOST_TAGS) -> bytes:
        """A part of at most this many tags. Raises as `read`, and DataError for more."""
        found = self.read(name)
        tags = found.count(b"<")
        self._tags -= tags
        if self._tags < 0 or tags > most:
            raise self._too_large(f"has more than {min(most, MOST_TAGS):,} tags", name)
        return found

    def parse(self, name: str, target: Any, most: int = MOST_TAGS) -> Any:
        """What a target makes of a part that is XML; document type definitions, which could make it grow, are refused."""
        parser = XMLParser(target=target, forbid_dtd=True)
        try:
            parser.feed(self.read_xml(name, most))
            return parser.close()
        except DefusedXmlException as error:
            raise self._declares(name) from error
        except (ParseError, LookupError, ValueError) as error:
            raise self.damaged(f"{name}: {error}") from error

    def refuse_declarations(self, name: str, content: bytes) -> None:
        """Raise DataError for a part that another library parses, where it declares a document type."""
        try:
            next(
                iterparse(io.BytesIO(content), events=("start",), forbid_dtd=True), None
            )  # it stands before all elements
        except DefusedXmlException as error:
            raise self._declares(name) from error
        except (ParseError, LookupError, ValueError):
            return  # no XML, such as a picture, or damaged: who parses it says so

    def tree(self, name: str) -> Element:
        """A part as a tree of XML, which is small: a list of other parts. Raises as `parse`."""
        root: Element = self.parse(name, TreeBuilder(), MOST_TAGS_OF_TREE)
        return root

    def damaged(self, seen: object) -> DataError:
        return DataError(
            f"{self.path} is no {self.kind} that can be read",
            seen=seen,
            next_step="open it in its program and save it again, or save it as .txt",
        )

    def _declares(self, name: str) -> DataError:
        return self.damaged(f"{name} declares a document type, or entities")

    def _too_large(self, how: str, seen: str) -> DataError:
        return DataError(
            f"{self.path} {how}: no {self.kind} is that large",
            seen=seen,
            next_step="look at what is in it, and give its text as .txt",
        )

    def encrypted(self) -> DataError:
        return DataError(
            f"{self.path} is encrypted", seen="a password is needed", next_step="save it without a password"
        )

    def _refuse_ole(self, content: bytes) -> None:
        if "EncryptedPackage".encode("utf-16-le") in content:
            raise self.encrypted()
        raise DataError(
            f"{self.path} is a file of an older Office (.doc, .xls), whatever its ending says",
            next_step="open it and save it as .docx, .xlsx or .txt",
        )


def word_text(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(paragraphs of a .docx file with those of its tables, then its notes; notes)."""
    zipped = Zipped(content, path, "Word document (.docx)")
    parts = ["word/document.xml", "word/footnotes.xml", "word/endnotes.xml"]
    read = [parts[0], *(name for name in parts[1:] if name in zipped.names)]
    lines = [line for name in read for line in zipped.parse(name, Paragraphs(("p",), _WORD_UNREAD, "t"))]
    return _joined(lines), ("read as a Word document: its paragraphs, tables and notes, without headers and comments",)


def open_text_document(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(paragraphs and headings of an .odt file; notes)."""
    zipped = Zipped(content, path, "OpenDocument text (.odt)")
    if "META-INF/manifest.xml" in zipped.names and b"encryption-data" in zipped.read("META-INF/manifest.xml"):
        raise zipped.encrypted()
    lines = zipped.parse("content.xml", Paragraphs(("p", "h"), _OPEN_UNREAD))
    return _joined(lines), ("read as an OpenDocument text: its paragraphs and tables, without headers and comments",)


def book_text(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(the chapters of an .epub file in the order in which they are read; notes)."""
    zipped = Zipped(content, path, "e-book (.epub)")
    named = [each.get("full-path", "") for each in _all(zipped.tree("META-INF/container.xml"), "rootfile")]
    if not named:
        raise zipped.damaged("META-INF/container.xml names no book")
    package = zipped.tree(named[0])
    folder = posixpath.dirname(named[0])
    items = {item.get("id", ""): item for item in _all(package, "item")}
    protected = _protected(zipped)
    chapters = []
    for reference in _all(package, "itemref"):
        item = items.get(reference.get("idref", ""))
        if item is None or "nav" in item.get("properties", "").split() or reference.get("linear") == "no":
            continue
        if "html" not in item.get("media-type", "html"):
            continue
        name = posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
        if name in protected:
            raise DataError(
                f"{path} is protected against copying (DRM)",
                seen=name,
                next_step="get the book without it, or give its text as .txt",
            )
        chapters.append(html_text(zipped.read_xml(name, MOST_TAGS_OF_TREE), path))
    text = "\n\n".join(chapter.strip() for chapter in chapters if chapter.strip())
    return text + "\n" if text else "", (f"read as an e-book: {len(chapters)} chapters in the order of its spine",)


def _protected(zipped: Zipped) -> set[str]:
    name = "META-INF/encryption.xml"
    if name not in zipped.names:
        return set()
    found = set()
    for data in _all(zipped.tree(name), "EncryptedData"):
        how = [each.get("Algorithm", "") for each in _all(data, "EncryptionMethod")]
        if not any(each in _FONTS for each in how):
            found |= {unquote(each.get("URI", "")) for each in _all(data, "CipherReference")}
    return found


def _all(root: Element, name: str) -> Iterable[Element]:
    return (element for element in root.iter() if local_name(element.tag) == name)


def _joined(lines: Iterable[str]) -> str:
    """Paragraphs with an empty line between them."""
    kept = [re.sub(r"[ \t]+\n", "\n", line).rstrip() for line in lines]
    kept = [line for line in kept if line.strip()]
    return "\n\n".join(kept) + "\n" if kept else ""
