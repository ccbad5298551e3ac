"""PDF: the text of its pages, by pypdf, which is written in Python alone and needs no other program."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

from expunge.errors import DataError, first_line

MOST_PAGE = 1 << 22
"characters of a page, above which it is not a page of text"
MOST_TEXT = 1 << 24
"characters of all pages together (a page of a book has 3,000), above which it is not a document"
_HYPHEN = re.compile(r"(?<=[^\W\d_])[-\u00ad\u2010]\n(?=[^\W\d_])")
_WITHIN = re.compile(r"(?<=[^\s.!?:;。！？])[ \t]*\n(?=[^\W\d_])")


def pdf_text(content: bytes, path: Path) -> tuple[str, tuple[str, ...]]:
    """(the text of a PDF file's pages; notes).

    A word that a line's end cuts is joined where it continues in lower case; so are lines that go on in lower case.

    Raises:
        DataError: no PDF, damaged, encrypted with a password that is needed to read, or pictures of pages alone;
            more than `MOST_TEXT` characters.
    """
    import pypdf
    from pypdf.errors import DependencyError

    if b"%PDF-" not in content[:1024]:
        raise DataError(
            f"{path} is not a PDF, whatever its ending says",
            seen=repr(content[:20].decode("latin-1")),
            next_step="give it the ending of what it is (.html, .txt)",
        )
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it warns of every odd object; what is unreadable is raised
    pages: list[str] = []
    try:
        reader = pypdf.PdfReader(io.BytesIO(content))
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(
                f"{path} is encrypted",
                seen="a password is needed to read it",
                next_step=f"save it without: qpdf --decrypt --password=PASSWORD {path.name} open.pdf",
            )
        left = MOST_TEXT
        for page in reader.pages:
            pages.append(_page(page.extract_text()[:MOST_PAGE]))
            left -= len(pages[-1])
            if left < 0:
                raise DataError(
                    f"{path} has more than {MOST_TEXT:,} characters: no PDF is that large",
                    seen=f"{MOST_TEXT - left:,} characters up to page {len(pages):,}",
                    next_step=f"look at what is in it, and give its text as .txt: pdftotext {path.name}",
                )
    except DataError:
        raise
    except DependencyError as error:
        raise DataError(
            f"{path} is encrypted in a way that needs a further package",
            seen=first_line(error),
            next_step='install it: pip install "pypdf[crypto]"',
        ) from error
    except Exception as error:  # what is damaged ends anywhere within the parser
        where = f"{path}, page {len(pages) + 1}" if pages else str(path)
        raise DataError(
            f"{where} is damaged and cannot be read as PDF",
            seen=f"{type(error).__name__}: {first_line(error)}",
            next_step=f"repair it: qpdf {path.name} repaired.pdf; or get the file again",
        ) from error
    empty = sum(not page for page in pages)
    if empty == len(pages):
        raise DataError(
            f"{path} has no text: its {len(pages)} pages are pictures, or empty",
            seen="a scan, it seems",
            next_step=f"have the text recognised first: ocrmypdf {path.name} recognised.pdf",
        )
    notes = ["read as PDF: the text of its pages, lines that go on in lower case joined"]
    if empty:
        notes.append(f"{empty} of {len(pages)} pages have no text (pictures, it seems), and are left out")
    return "\n\n".join(page for page in pages if page) + "\n", tuple(notes)


def _page(text: str) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    text = "".join(char for char in text if not "\ud800" <= char <= "\udfff")
    return _WITHIN.sub(_line_end, _HYPHEN.sub(_word_end, text)).strip()


def _word_end(found: re.Match[str]) -> str:
    return "" if found.string[found.end()].islower() else found.group()


def _line_end(found: re.Match[str]) -> str:
    return " " if found.string[found.end()].islower() else found.group()
