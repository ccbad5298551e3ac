"""Documents of office programs, e-books, PDF and notebooks: their text, as one passage a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from expunge.data.text.document import Document
from expunge.data.text.documents.pdf import pdf_text
from expunge.data.text.documents.zipped import MOST, book_text, open_text_document, word_text
from expunge.data.text.notes import Notes
from expunge.data.text.text_files import documents_of, normalise_newlines, read_bytes
from expunge.errors import DataError

KEPT = 32
"documents whose text is kept in memory: a run reads its sets several times"
Said = tuple[str, tuple[str, ...]]
"(text, what a reader must know)"


def rich_text(content: bytes, path: Path) -> Said:
    """(the text of an .rtf file; notes)."""
    from striprtf.striprtf import rtf_to_text

    if not content.lstrip().startswith(b"{\\rtf"):
        raise _damaged(path, "rich text (RTF)", f"it begins with {content[:12]!r}")
    if not content.rstrip(b"\0\r\n\t ").endswith(b"}"):
        raise _damaged(path, "rich text (RTF)", "its end is missing")
    try:
        return rtf_to_text(content.decode("latin-1"), errors="strict"), ("read as rich text (RTF)",)
    except (UnicodeError, LookupError, ValueError, IndexError) as error:
        raise _damaged(path, "rich text (RTF)", error) from error


def notebook_text(content: bytes, path: Path) -> Said:
    """(the cells of an .ipynb file; notes)."""
    try:
        cells: Any = json.loads(content.decode("utf-8-sig"))
        cells = cells["cells"]
        sources = [cell["source"] for cell in cells if cell.get("cell_type") in ("markdown", "code")]
        texts = ["".join(each) for each in sources]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, "notebook (.ipynb, version 4)", f"{type(error).__name__}: {error}") from error
    text = "\n\n".join(text.strip("\n") for text in texts if text.strip())
    return text + "\n" if text else "", ("read as a notebook: text and code of its cells, without what they printed",)


FORMS: dict[str, Callable[[bytes, Path], Said]] = {
    "pdf": pdf_text,
    "word": word_text,
    "open document": open_text_document,
    "book": book_text,
    "rich text": rich_text,
    "notebook": notebook_text,
}
"how the text of a document is found, by its form"


def read_document_file(form: str, path: Path, notes: Notes) -> Iterator[Document]:
    """The text of a document, as one passage.

    Raises:
        DataError: damaged, encrypted, too large, or without text; what `open_file` raises.
    """
    text, remarks = _said(form, path)
    for each in remarks:
        notes.file(each, path)
    yield from documents_of([text], str(path), None)


def _read(form: str, path: Path) -> Said:
    content = read_bytes(path, "split it, or give its text as .txt", MOST, text=False)
    text, remarks = FORMS[form](content, path)
    if not text.strip():
        raise DataError(
            f"{path} has no text", seen="pictures or empty paragraphs alone", next_step="give its text as .txt"
        )
    return normalise_newlines(text), remarks


def _said(form: str, path: Path) -> Said:
    seen = path.stat()
    return _said_then(form, path, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=KEPT)
def _said_then(form: str, path: Path, size: int, changed: int) -> Said:
    return _read(form, path)


def reason_unread(form: str, path: Path) -> str | None:
    """Why a document in a folder cannot be read (damaged, encrypted, pictures of pages); None if it can."""
    try:
        _said(form, path)
    except DataError as error:
        return error.what.replace(str(path), "").strip(" ,")
    return None


def _damaged(path: Path, kind: str, seen: object) -> DataError:
    return DataError(
        f"{path} is no {kind} that can be read",
        seen=seen,
        next_step="open it in its program and save it again, or save it as .txt",
    )
