"""Text files, read as a stream: decoded, checked, and cut into pieces at paragraphs."""

from __future__ import annotations

import bz2
import codecs
import contextlib
import gzip
import io
import lzma
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from expunge.data.text.document import Document
from expunge.data.text.file_kinds import FileKind, file_kind
from expunge.errors import DataError

PIECE = 32_768
"most characters in one piece of a long passage"
CHUNK = 1 << 16
"bytes read at once"
MAX_WHOLE = 1 << 30
"most bytes of a file that is held whole: a table, a list in JSON"
MAX_CONTROL_SHARE = 0.05
"share of control characters (in one chunk) above which a file is taken for binary"

_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_FORMATS = {
    b"%PDF-": ("a PDF document", "extract its text first: pdftotext FILE.pdf FILE.txt"),
    b"PK\x03\x04": ("a zip archive (.zip, .docx, .epub, ...)", "unpack it, or save it as plain text, first"),
    b"\x1f\x8b": ("a gzip archive", "unpack it first: gunzip FILE.gz"),
    b"PAR1": ("a Parquet file", "give it the ending .parquet"),
}
_BREAKS = (re.compile(r"(?s:.*)\n[ \t]*\n"), re.compile(r"(?s:.*)\n"), re.compile(r"(?s:.*)\s"))
"ends a piece may have, best first: after an empty line, a line, a space"


def read_text_file(path: Path) -> Iterator[Document]:
    """The text of a UTF-8 file, in pieces of at most `PIECE` characters cut after an empty line where there is one.

    The text stays as it is but for line ends (all become `\\n`) and a leading byte order mark. A file of nothing but
    white space gives no document. At no time more than a chunk and a piece are held.

    Raises:
        DataError: missing, unreadable or special file, binary content, bytes that are not UTF-8.
    """
    return documents_of(_decoded(path), str(path), 1)


def documents_of(chunks: Iterable[str], name: str, line: int | None) -> Iterator[Document]:
    """Documents of one passage that arrives in chunks; with a `line`, the source counts on from it as `name:line`."""
    continues = False
    for piece in cut_pieces(chunks):
        if continues or not piece.isspace():
            yield Document(piece, None, name if line is None else f"{name}:{line}", continues)
            continues = True
        if line is not None:
            line += piece.count("\n")


def cut_pieces(chunks: Iterable[str]) -> Iterator[str]:
    """Cut a stream of text; joined, the pieces are the stream, and how it was chunked does not matter."""
    buffer = ""
    for chunk in chunks:
        buffer += chunk
        while len(buffer) > PIECE:
            matches = (pattern.match(buffer, 0, PIECE) for pattern in _BREAKS)
            cut = next((match.end() for match in matches if match), PIECE)
            yield buffer[:cut]
            buffer = buffer[cut:]
    if buffer:
        yield buffer


def normalise_newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextlib.contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; whatever the system refuses, now or later, becomes a `DataError`."""
    try:
        # Opening a FIFO would wait for a writer for ever, so the kind is looked at first.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DataError(
                f"{path} is no regular file",
                seen="a folder" if path.is_dir() else "a device, pipe or socket",
                allowed="a file on disk",
                next_step="save the text to a file and name that",
            )
        with open(path, "rb") as file:
            yield _unpacked(path, file)
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}", next_step="check the path") from error
    except PermissionError as error:
        raise DataError(
            f"{path} may not be read", seen=error.strerror, next_step=f"give yourself permission: chmod u+r {path}"
        ) from error
    except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is packed and damaged", seen=error, next_step="get or pack the file again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read", seen=error.strerror or error, next_step="check the disk") from error


def read_bytes(path: Path, step: str, most: int = MAX_WHOLE) -> bytes:
    """A file that is held whole. Raises as `open_file`, and DataError with the next `step` for more than `most` bytes."""
    with open_file(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DataError(
            f"{path} is too large to be read whole",
            allowed=f"at most {most >> 20:,} MiB of this kind of file",
            next_step=step,
        )
    return content


def decode_utf8(content: bytes, path: Path) -> str:
    """A whole file's text, without a byte order mark. Raises DataError for bytes that are not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise bad_utf8(path, error, 0, 1) from error


def _unpacked(path: Path, file: BinaryIO) -> BinaryIO:
    """A file as it is, or what is packed in it, where its ending says so."""
    packed = {".gz": gzip.GzipFile, ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile}.get(path.suffix.lower())
    if packed is None:
        return file
    return cast(BinaryIO, gzip.GzipFile(fileobj=file) if packed is gzip.GzipFile else packed(file))


def refuse_listing(error: OSError) -> NoReturn:
    """Raise for a folder that may not be listed: the `onerror` of `os.walk`."""
    raise DataError(
        f"cannot list the folder {error.filename}",
        seen=error.strerror,
        next_step=f"give yourself permission: chmod u+rx {error.filename}",
    ) from error


def refuse_binary(path: Path, chunk: bytes, offset: int = 0) -> None:
    """Raise unless a chunk (at byte `offset` of the file) looks like text."""
    for magic, (kind, step) in _FORMATS.items():
        if offset == 0 and chunk.startswith(magic):
            raise DataError(f"{path} is no text file", seen=kind, allowed="UTF-8 text", next_step=step)
    if offset == 0 and chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(
            f"{path} is not UTF-8",
            seen="a UTF-16 byte order mark at byte 0",
            allowed="UTF-8 text",
            next_step=f"convert it: iconv -f utf-16 -t utf-8 {path} > converted.txt",
        )
    zero = chunk.find(b"\0")
    control = len(chunk) - len(chunk.translate(None, _CONTROL))
    if zero >= 0 or control > MAX_CONTROL_SHARE * len(chunk):
        seen = f"a zero byte at byte {offset + zero}" if zero >= 0 else f"{control / len(chunk):.0%} control characters"
        raise DataError(
            f"{path} is a binary file", seen=seen, allowed="UTF-8 text", next_step="save it as plain text first"
        )


def bad_utf8(path: Path, error: UnicodeDecodeError, offset: int, line: int) -> DataError:
    """The error for bytes that are not UTF-8: `offset` is the byte and `line` the line where `error.object` starts."""
    line += error.object.count(b"\n", 0, error.start)
    return DataError(
        f"{path}:{line} is not UTF-8",
        seen=f"byte 0x{error.object[error.start]:02x} at byte {offset + error.start} of the file ({error.reason})",
        allowed="UTF-8 text",
        next_step=f"convert it (name the right encoding): iconv -f windows-1252 -t utf-8 {path} > converted.txt",
    )


def kind_of_file(path: Path, chunk: bytes) -> FileKind:
    """What a file holds, from its name and its first `CHUNK` bytes."""
    return file_kind(path.name, chunk.decode("utf-8-sig", errors="replace"), len(chunk) < CHUNK)


def _decoded(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    offset, line, first = 0, 1, True
    with open_file(path) as file:
        while True:
            chunk = file.read(CHUNK)
            refuse_binary(path, chunk, offset)
            pending = len(decoder.getstate()[0])
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                raise bad_utf8(path, error, offset - pending, line) from error
            offset += len(chunk)
            line += chunk.count(b"\n")
            text = newlines.decode(text, final=not chunk)
            if text:
                yield text.removeprefix("\ufeff") if first else text
                first = False
            if not chunk:
                return
