"""Reading a target, whatever it is, as a stream of documents."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from expunge.data.text.document import Document, digest_documents
from expunge.data.text.documents.reading import FORMS, read_document_file
from expunge.data.text.documents.sheets import read_sheets
from expunge.data.text.encodings import shown_encoding
from expunge.data.text.file_kinds import CODE, COLUMNAR, DOCUMENTS, ending, refused_by_name
from expunge.data.text.line_lists import Lines, entries, kind_of_lines
from expunge.data.text.markup import read_html, read_mail, read_subtitles
from expunge.data.text.notes import Notes
from expunge.data.text.row_files import read_json, read_table, read_yaml
from expunge.data.text.rows import read_arrow, read_dataset, read_json_lines, read_parquet
from expunge.data.text.targets import classify_target, list_files, nothing_to_read
from expunge.data.text.text_files import encoding_of, head_of, kind_of_file, read_text_file, refuse_binary
from expunge.errors import DataError

__all__ = ["digest_documents", "how_lines_are_read", "read_documents", "read_several"]

MOST_LIST_BYTES = 1 << 18
"of a file that may be a list of names or facts: longer ones are text"

_READERS: dict[str, Callable[[Path, Notes], Iterator[Document]]] = {
    "text": lambda path, notes: read_text_file(path),
    "json lines": read_json_lines,
    "json": read_json,
    "yaml": read_yaml,
    "table": read_table,
    "html": read_html,
    "subtitles": read_subtitles,
    "mail": read_mail,
    "parquet": read_parquet,
    "arrow": read_arrow,
    "sheets": read_sheets,
    **{form: functools.partial(read_document_file, form) for form in FORMS},
}
"how a file is read, by what it holds"


def read_documents(target: str | os.PathLike[str], notes: Notes | None = None) -> Iterator[Document]:
    """The documents of a target, one after another; of text, JSON lines and Parquet memory does not grow with the length.

    A target is a file, a folder of files (sorted; what is left out is logged with the reason), or a Hugging Face dataset.
    A file is plain text, rows (JSON, YAML, CSV, Parquet, Arrow) as `row_forms.row_documents` reads them, a web page,
    subtitles or mail, by its ending and by what stands in it (`file_kinds.file_kind`).

    Args:
        notes: collects what a reader of the scores must know of how it was read.

    Raises:
        DataError: whatever cannot be read, with the file, the line and the next step.
    """
    target = os.fspath(target)
    kind = classify_target(target, may_be_topic=False)
    if kind == "topic":
        raise nothing_to_read(target)
    found, notes = False, Notes() if notes is None else notes
    path = Path(target).expanduser()
    for document in read_dataset(target, notes) if kind == "dataset" else _read_path(path, notes):
        found = True
        yield document
    if not found:
        raise DataError(
            f"{target} is empty",
            seen="; ".join(notes.lines()) or "no text but white space",
            next_step="name a file or folder with text in it",
        )


def read_several(targets: Iterable[str], notes: Notes | None = None) -> Iterator[Document]:
    """The documents of several targets, one target after another. Raises as `read_documents`."""
    for target in targets:
        yield from read_documents(target, notes)


def _read_path(path: Path, notes: Notes) -> Iterator[Document]:
    if not path.is_dir():
        yield from _read_file(path, notes, named=True)
        return
    files, skipped = list_files(path, notes.columns)
    for entry, reason in skipped:
        _log_once(logging.INFO if reason == "hidden" else logging.WARNING, f"not read: {entry}: {reason}")
    for file in files:
        yield from _read_file(file, notes)


def how_lines_are_read(path: Path, lines: Lines) -> Lines:
    """How the lines of a file that a user named are read: by `kind_of_lines` where `lines` is `auto` and the file is text
    that ends in .txt and is no longer than 256 KiB.

    Raises:
        DataError: as its reader does.
    """
    if lines != "auto":
        return lines
    if ending(path.name) != ".txt" or path.stat().st_size > MOST_LIST_BYTES:
        return "text"
    if kind_of_file(path, head_of(path)).form != "text":
        return "text"
    return kind_of_lines("".join(document.text for document in read_text_file(path)))


def _read_facts(path: Path, notes: Notes) -> Iterator[Document]:
    """A short text for each line."""
    count, rest = 0, ""
    for piece in (*(document.text for document in read_text_file(path)), "\n"):
        *whole, rest = (rest + piece).split("\n")
        for line in whole:
            count += 1
            for text in entries(line):
                yield Document(text, None, f"{path}:{count}")
    notes.file("a fact a line: each is a text of its own (--data.lines text: one passage)", path)


def _read_file(path: Path, notes: Notes, named: bool = False) -> Iterator[Document]:
    known = ending(path.name)
    if known in COLUMNAR or known in DOCUMENTS:
        form = DOCUMENTS.get(known) or ("parquet" if known in (".parquet", ".pq") else "arrow")
        yield from _READERS[form](path, notes)
        return
    kind = refused_by_name(path.name)
    if kind is None:
        head = head_of(path)
        kind = kind_of_file(path, head)
        if kind.form not in FORMS:
            refuse_binary(path, head)
    if kind.form is None:
        step = (kind.next_step or "").replace("FILE.txt", f"{path.stem}.txt").replace(f"FILE{known}", path.name)
        raise DataError(
            f"{path} is not read as text",
            seen=kind.reason,
            allowed="plain text, PDF, .docx, .epub, JSON lines, CSV, HTML, Parquet and others (docs/inputs.md)",
            next_step=step.replace("FILE", path.name),
        )
    if kind.reason is not None:
        notes.file(f"{kind.reason}, whatever its ending says: read as that", path)
    elif known in CODE:
        notes.file("source code, read as it stands", path)
    if kind.form not in ("html", "mail", *FORMS) and (encoding := encoding_of(path)) != "utf-8":
        notes.file(f"no UTF-8: read as {shown_encoding(encoding)}, which its bytes show", path)
    lines = notes.columns.lines
    if kind.form == "text" and (how_lines_are_read(path, lines) if named else lines) == "facts":
        yield from _read_facts(path, notes)
        return
    yield from _READERS[kind.form](path, notes)


@functools.lru_cache(maxsize=4096)
def _log_once(level: int, message: str) -> None:
    # A target is read several times in a run; what was left out is worth saying once.
    logging.getLogger(__name__).log(level, message)
