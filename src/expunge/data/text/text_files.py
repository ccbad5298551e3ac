"""Text files, read as a stream: decoded, checked, and cut into pieces at paragraphs."""

from __future__ import annotations

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
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NoReturn, cast

from expunge.data.text.document import Document
from expunge.data.text.encodings import Recoded, found_encoding, marked_encoding, shown_encoding
from expunge.data.text.file_kinds import FileKind, ending, file_kind
from expunge.data.text.unpacking import unpacked
from expunge.errors import DataError

PIECE = 32_768
"most characters in one piece of a long passage"
CHUNK = 1 << 16
"bytes read at once"
SAMPLE, MAX_LINE = 1 << 17, 1 << 23
"bytes of lines by which an encoding is found; and of one line that are read for it"
MAX_WHOLE = 1 << 30
"most bytes of a file that is held whole: a table, a list in JSON"
MAX_CONTROL_SHARE = 0.05
"share of control characters (in one chunk) above which a file is taken for binary"

_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r\x1b")) + b"\x7f"
_FORMATS = {
    b"%PDF-": ("a PDF document", "give it the ending .pdf"),
    b"PK\x03\x04": (
        "a zip archive (.zip, .docx, .epub, ...)",
        "give it its ending back (.docx, .odt, .epub, .xlsx), or unpack it first",
    ),
    b"\x28\xb5\x2f\xfd": ("a file packed by Zstandard", "give it the ending .zst"),
    b"\x1f\x8b": ("a gzip archive", "give it the ending .gz"),
    b"PAR1": ("a Parquet file", "give it the ending .parquet"),
}
_BREAKS = (re.compile(r"(?s:.*)\n[ \t]*\n"), re.compile(r"(?s:.*)\n"), re.compile(r"(?s:.*)\s"))
"ends a piece may have, best first: after an empty line, a line, a space"


def read_text_file(path: Path) -> Iterator[Document]:
    """The text of a file, in pieces of at most `PIECE` characters cut after an empty line if there is one.

    The text stays as it is but for line ends (all become `\\n`) and a leading byte order mark. A file of nothing but
    white space gives no document. At no time more than a chunk and a piece are held.

    Raises:
        DataError: missing, unreadable or special file, binary content, bytes of no encoding that is certain.
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
                f"{path} is not a regular file",
                seen="a folder" if path.is_dir() else "a device, pipe or socket",
                allowed="a file on disk",
                next_step="save the text to a file and name that",
            )
        with open(path, "rb") as file:
            yield unpacked(path, file)
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


@contextlib.contextmanager
def open_text(path: Path) -> Iterator[BinaryIO]:
    """Open a file of text; what is read is UTF-8, whatever the file's encoding is. Raises as `open_file`, and DataError
    for an encoding that is not certain."""
    encoding = encoding_of(path)
    with open_file(path) as file:
        if encoding == "utf-8":
            yield file
            return

        def refuse(at: int, reason: str) -> DataError:
            return DataError(
                f"{path} is not in the encoding that its beginning shows",
                seen=f"{shown_encoding(encoding)}; byte {at} of the file ({reason})",
                next_step="save it as UTF-8",
            )

        yield cast(BinaryIO, io.BufferedReader(Recoded(file, encoding, refuse)))


def encoding_of(path: Path) -> str:
    """Python's name of the encoding of a file of text: UTF-8 where all of it is that.

    Raises:
        DataError: what `open_file` raises; damaged UTF-8, or another encoding that is not certain (file, line, byte).
    """
    try:
        seen = os.stat(path)
    except OSError:
        return "utf-8"  # opening it says why
    return _encoding_of(path, seen.st_size, seen.st_mtime_ns)


@lru_cache(maxsize=4096)
def _encoding_of(path: Path, size: int, changed: int) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line, beyond = 0, 1, False
    with open_file(path) as file:
        while True:
            chunk = file.read(CHUNK)
            if offset == 0 and (marked := marked_encoding(chunk)) is not None:
                return marked
            pending = decoder.getstate()[0]
            try:
                decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                refused = bad_utf8(path, error, offset - len(pending), line)
                if beyond or not error.object[: error.start].isascii():
                    raise refused from error  # what stands before shows that it is UTF-8, and damaged
                refuse_binary(path, chunk, offset)
                found = found_encoding(_sample(pending + chunk, file))
                if found is None:
                    raise refused from error
                return found
            if not chunk:
                return "utf-8"
            beyond = beyond or not chunk.isascii()
            offset += len(chunk)
            line += chunk.count(b"\n")


def _sample(first: bytes, file: BinaryIO) -> bytes:
    """Whole lines with bytes beyond ASCII, of what was read already and what follows."""
    found, rest = bytearray(), first
    while len(found) < SAMPLE:
        more = file.read(CHUNK)
        *lines, rest = rest.split(b"\n")
        found += b"".join(line + b"\n" for line in lines if not line.isascii())
        if not more or len(rest) > MAX_LINE:
            found += b"" if rest.isascii() else rest
            break
        rest += more
    return bytes(found)


def head_of(path: Path) -> bytes:
    """The beginning of a file, as UTF-8 where its encoding is known."""
    with open_file(path) as file:
        head = file.read(CHUNK)
    encoding = marked_encoding(head)
    if encoding is None and not ending(path.name).startswith((".htm", ".xhtm")):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            with contextlib.suppress(DataError):  # reading it says why
                encoding = encoding_of(path)
    if encoding in (None, "utf-8"):
        return head
    return codecs.getincrementaldecoder(encoding)(errors="replace").decode(head).encode("utf-8", "replace")


def read_bytes(path: Path, step: str, most: int = MAX_WHOLE, text: bool = True) -> bytes:
    """A file that is held whole, as UTF-8 where it is `text`.

    Raises as `open_text` or `open_file`, and DataError with the next `step` for more than `most` bytes.
    """
    with open_text(path) if text else open_file(path) as file:
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
            raise DataError(f"{path} is not a text file", seen=kind, allowed="UTF-8 text", next_step=step)
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
    with open_text(path) as file:
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
