"""Word, OpenDocument and EPUB: zip files of XML, read with what Python has; nothing in them is run or looked up."""

from __future__ import annotations

import io
import posixpath
import re
import xml.etree.ElementTree as ElementTree
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from expunge.data.text.markup import html_text
from expunge.errors import DataError

MOST = 1 << 28
"most bytes that the text of a document may unpack to"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"what files of the older Office begin with, and encrypted ones of the newer"
_FONTS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"kinds of encryption that hide fonts alone"
_WORD_UNREAD = ("Fallback", "moveFrom", "instrText", "delText", "pPr", "rPr", "sectPr", "tblPr", "tcPr")
"what Word does not show: a second form of the same, what was deleted or moved away, and properties"
_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "line-break": "\n", "noBreakHyphen": "-"}
_SPACE = re.compile(r"[ \t\r\n]+")
_OPEN_UNREAD = ("annotation", "tracked-changes", "sequence-decls", "note-citation")


class Zipped:
    """The parts of a zip file that hold a document.

    Raises:
        DataError: encrypted, damaged, or no such file at all; parts that unpack to more than `MOST` bytes.
    """

    def __init__(self, content: bytes, path: Path, kind: str) -> None:
        self.path, self.kind, self._left = path, kind, MOST
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
            raise DataError(
                f"{self.path} unpacks to more than {MOST >> 20} MiB of text: no {self.kind} is that large",
                seen=name,
                next_step="look at what is in it, and give its text as .txt",
            )
        return found

    def tree(self, name: str) -> ElementTree.Element:
        """A part as XML; document type definitions, which could make it grow, are refused."""
        found = self.read(name)
        if b"<!DOCTYPE" in found or b"<!ENTITY" in found:
            raise self.damaged(f"{name} declares entities")
        try:
            return ElementTree.fromstring(found)
        except (ElementTree.ParseError, LookupError, ValueError) as error:
            raise self.damaged(f"{name}: {error}") from error

    def damaged(self, seen: object) -> DataError:
        return DataError(
            f"{self.path} is no {self.kind} that can be read",
            seen=seen,
            next_step="open it in its program and save it again, or save it as .txt",
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
    """(paragraphs of a .docx file with those of its tables, then its notes; what a reader must know)."""
    zipped = Zipped(content, path, "Word document (.docx)")
    parts = ["word/document.xml", "word/footnotes.xml", "word/endnotes.xml"]
    main = zipped.tree(parts[0])
    others = [zipped.tree(name) for name in parts[1:] if name in zipped.names]
    lines = [line for root in (main, *others) for line in _paragraphs(root, ("p",), _WORD_UNREAD, "t")]
    return _joined(lines), ("read as a Word document: its paragraphs, tables and notes, without headers and comments",)


def open_text_document(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(paragraphs and headings of an .odt file; what a reader must know)."""
    zipped = Zipped(content, path, "OpenDocument text (.odt)")
    if "META-INF/manifest.xml" in zipped.names and b"encryption-data" in zipped.read("META-INF/manifest.xml"):
        raise zipped.encrypted()
    lines = _paragraphs(zipped.tree("content.xml"), ("p", "h"), _OPEN_UNREAD)
    return _joined(lines), ("read as an OpenDocument text: its paragraphs and tables, without headers and comments",)


def book_text(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(the chapters of an .epub file in the order in which they are read; what a reader must know)."""
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
        chapters.append(html_text(zipped.read(name), path))
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


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _all(root: ElementTree.Element, name: str) -> Iterable[ElementTree.Element]:
    return (element for element in root.iter() if _local(element) == name)


def _paragraphs(
    root: ElementTree.Element, names: tuple[str, ...], unread: tuple[str, ...], only: str | None = None
) -> list[str]:
    """The text of each paragraph, in order; one within another (a text box, a note) stands after its beginning.

    Args:
        names: elements that are paragraphs. only: the element that text stands in, where it is not all of a paragraph.
    """
    found: list[list[str]] = []

    def walk(element: ElementTree.Element, into: list[str], inside: bool) -> None:
        name = _local(element)
        if name in unread:
            return
        if name in names:
            into, inside = [], True
            found.append(into)
        if name in _MARKS:
            into.append(_MARKS[name])
        elif name == "s":  # OpenDocument's spaces in a row
            count = next((value for key, value in element.attrib.items() if key.endswith("}c")), "1")
            into.append(" " * (min(int(count), 1000) if count.isdecimal() else 1))
        if element.text and (inside if only is None else name == only):
            into.append(element.text if only else _SPACE.sub(" ", element.text))
        for child in element:
            walk(child, into, inside)
            if child.tail and inside and only is None:
                into.append(_SPACE.sub(" ", child.tail))

    walk(root, [], False)
    return ["".join(part) for part in found]


def _joined(lines: Iterable[str]) -> str:
    """Paragraphs with an empty line between them."""
    kept = [re.sub(r"[ \t]+\n", "\n", line).rstrip() for line in lines]
    kept = [line for line in kept if line.strip()]
    return "\n\n".join(kept) + "\n" if kept else ""
