"""Text inside other things than text: web pages, subtitles, mail."""

from __future__ import annotations

import codecs
import email
import email.policy
import re
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from expunge.data.text.document import Document
from expunge.data.text.encodings import marked_encoding
from expunge.data.text.notes import Notes
from expunge.data.text.text_files import MAX_WHOLE, bad_utf8, decode_utf8, documents_of, normalise_newlines, read_bytes
from expunge.errors import DataError

UNSEEN = (
    *("script", "style", "nav", "noscript", "template", "head", "title", "iframe", "object", "svg", "canvas", "form"),
    *("button", "select", "input", "textarea", "audio", "video", "map", "dialog"),
)
"elements of a page that are not text of it"
BLOCKS = (
    *("p", "div", "section", "article", "main", "header", "footer", "aside", "address", "blockquote", "figure", "pre"),
    *("figcaption", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "tbody", "hr"),
    *("details", "fieldset"),
)
"elements with an empty line around them"
LINES = ("li", "tr", "dt", "dd", "caption", "summary")
"elements on a line of their own"
MAX_PAGE = 1 << 26
"most bytes of a page: its tree takes many times that"

_NO_PAGE = ("idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape")
"codecs of Python that are for other things than pages"
_CHARSET = re.compile(rb"""(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_TIMING = re.compile(r"^\s*(\d+:)?\d{1,2}:\d{2}[,.]\d{3}\s*-->")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\an?\d\}")


def read_html(path: Path, notes: Notes) -> Iterator[Document]:
    """The visible text of a web page: no scripts, styles, navigation or forms; one paragraph a block element.

    The encoding is the one that the page names (a byte order mark, `<meta charset>`, `<?xml encoding>`), else UTF-8.

    Raises:
        DataError: too large, or bytes that are not of that encoding.
    """
    text = html_text(_whole(path, MAX_PAGE), path)
    notes.file("read as a web page: its visible text, without scripts, styles, navigation and forms", path)
    yield from documents_of([text], str(path), None)


def _whole(path: Path, most: int = MAX_WHOLE, text: bool = False) -> bytes:
    return read_bytes(path, "save it as plain text: pandoc -t plain FILE -o FILE.txt", most, text)


def html_text(content: bytes, path: Path) -> str:
    """Visible text of a page; blocks are parted by empty lines, white space is run together as a browser does."""
    from bs4 import BeautifulSoup
    from bs4.element import CData, NavigableString

    soup = BeautifulSoup(_decoded(content, path), "html.parser")
    for tag in soup.find_all(UNSEEN):
        tag.decompose()
    for tag in soup.find_all(_hidden):
        tag.decompose()
    for string in soup.find_all(string=True):
        if type(string) not in (NavigableString, CData):
            string.extract()  # comments, declarations
        elif string.find_parent("pre") is None:
            string.replace_with(NavigableString(re.sub(r"[ \t\r\n\f]+", " ", string)))
    for tag in soup.find_all(["br", *LINES, *BLOCKS, "td", "th"]):
        mark = {"br": "\n", "td": " ", "th": " "}.get(tag.name, "\n" if tag.name in LINES else "\n\n")
        tag.insert_before(mark)
        if tag.name in BLOCKS:
            tag.insert_after(mark)
    lines = [line.rstrip() if line[:2].isspace() else line.strip() for line in soup.get_text().split("\n")]
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(re.sub(r"(?<=\S) +", " ", line) for line in lines))
    return joined.strip() + "\n" if joined.strip() else ""


def _hidden(tag: object) -> bool:
    get: Any = getattr(tag, "get", {}.get)
    style = str(get("style") or "").replace(" ", "").lower()
    return get("hidden") is not None or get("aria-hidden") == "true" or "display:none" in style


def _decoded(content: bytes, path: Path) -> str:
    if (marked := marked_encoding(content[:4096])) is not None:
        return content.decode(marked, errors="replace").removeprefix("\ufeff")
    named = _CHARSET.search(content[:4096])
    declared = named.group(1).decode("ascii").lower() if named else "utf-8"
    try:
        encoding = codecs.lookup(declared).name
        if encoding in _NO_PAGE:
            raise LookupError(encoding)
        if encoding in ("iso8859-1", "ascii"):
            encoding = "cp1252"  # as every browser reads them
        return content.decode(encoding)
    except LookupError as error:  # so ends a codec that turns bytes into bytes (hex, zlib), too
        raise DataError(
            f"{path} names an encoding that does not exist", seen=declared, next_step="correct its <meta charset>"
        ) from error
    except UnicodeError as error:
        if encoding == "cp1252":
            return content.decode("latin-1")
        if encoding == "utf-8" and isinstance(error, UnicodeDecodeError):
            raise bad_utf8(path, error, 0, 1) from error
        at = (
            f"byte 0x{content[error.start]:02x} at byte {error.start}"
            if isinstance(error, UnicodeDecodeError)
            else error
        )
        raise DataError(
            f"{path} is not in the encoding that it names",
            seen=f"{declared}; {at}",
            next_step="correct its <meta charset>",
        ) from error


def read_subtitles(path: Path, notes: Notes) -> Iterator[Document]:
    """What is said in subtitles (SRT, WebVTT): no numbers, times, notes or marks; a line said twice in a row is one.

    Raises:
        DataError: bytes that are not UTF-8.
    """
    text = normalise_newlines(decode_utf8(_whole(path, text=True), path))
    said: list[str] = []
    for block in re.split(r"\n[ \t]*\n", text):
        lines = block.strip("\n").split("\n")
        at = next((number for number, line in enumerate(lines[:3]) if _TIMING.match(line)), None)
        for line in lines[at + 1 :] if at is not None else []:
            words = _TAG.sub("", line).strip()
            if words and (not said or words != said[-1]):
                said.append(words)
    notes.file("read as subtitles: what is said, without numbers and times", path)
    yield from documents_of(["".join(line + "\n" for line in said)], str(path), None)


def read_mail(path: Path, notes: Notes) -> Iterator[Document]:
    """Subject and body of every message of a file (`.eml`: one; `.mbox`: many); no other headers, no attachments."""
    content = _whole(path)
    many = path.name.lower().endswith(".mbox") or content.startswith(b"From ")
    parts = re.split(rb"(?:\A|\r?\n\r?\n)From [^\r\n]*\r?\n", content) if many else [content]
    for number, part in enumerate(filter(bytes.strip, parts), 1):
        message = email.message_from_bytes(part, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        text = _message_text(message, path)
        if text:
            yield from documents_of([text], f"{path}:{number}", None)
    notes.file("read as mail: subjects and bodies, without other headers and attachments", path)


def _message_text(message: EmailMessage, path: Path) -> str:
    body = message.get_body(("plain", "html"))
    try:
        said = "" if body is None else str(body.get_content())
    except (LookupError, ValueError, KeyError) as error:
        raise DataError(f"{path} has a message that cannot be read", seen=error, next_step="remove it") from error
    if body is not None and body.get_content_subtype() == "html":
        # It is decoded already, whatever it says of itself.
        said = html_text(codecs.BOM_UTF8 + said.encode("utf-8", "replace"), path)
    subject = str(message.get("subject") or "").strip()
    return normalise_newlines("\n\n".join(filter(None, (subject, said.strip()))))
