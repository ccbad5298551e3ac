"""Files that are packed (.gz, .bz2, .xz, .zst), read as a stream of what is in them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from expunge.data.text.file_kinds import COLUMNAR, ending
from expunge.errors import DataError

BOMB, ALWAYS = 250, 1 << 26
"how many times its size a file may unpack to (text: 3 to 30); and bytes that any file may"

PIECE = 1 << 9
"packed bytes taken at once: four of them, of a block of one byte repeated, may unpack to 128 KiB"

_OPEN: dict[str, Callable[[BinaryIO], IO[bytes]]] = {
    ".gz": lambda file: cast(IO[bytes], gzip.GzipFile(fileobj=file)),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


def unpacked(path: Path, file: BinaryIO) -> BinaryIO:
    """A file as it is, or what is packed in it, where its ending says so.

    Raises (while it is read):
        DataError: it unpacks to more than `BOMB` times its size.
        EOFError, OSError, LZMAError, zlib.error: it is damaged.
    """
    known = path.suffix.lower()
    if known not in (".gz", ".bz2", ".xz", ".zst"):
        return file
    inside = _Zstandard(file) if known == ".zst" else _OPEN[known](file)
    stream = io.BufferedReader(_Bounded(inside, path))
    return cast(BinaryIO, io.BytesIO(stream.read()) if ending(path.name) in COLUMNAR else stream)


class _Bounded(io.RawIOBase):
    """What is unpacked, as long as it is no more than text can be."""

    def __init__(self, inside: IO[bytes] | io.RawIOBase, path: Path) -> None:
        self._inside, self._path, self._read = inside, path, 0
        self._most = max(ALWAYS, BOMB * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        chunk = self._inside.read(len(buffer)) or b""
        self._read += len(chunk)
        if self._read > self._most:
            raise DataError(
                f"{self._path} unpacks to more than {BOMB} times its size: no text is packed so small",
                seen=f"{self._read:,} bytes, and more to come",
                next_step="unpack it yourself and look at it; name the unpacked file if it is text",
            )
        buffer[: len(chunk)] = chunk
        return len(chunk)


class _Zstandard(io.RawIOBase):
    """Zstandard frames, one after another; a frame that ends too early is an error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._left = file, b""
        self._frame: Any = None
        self._ready, self._at = b"", 0  # what is unpacked, and how much of it was read

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while self._at == len(self._ready) and self._fill():
            pass
        chunk = self._ready[self._at : self._at + len(buffer)]
        self._at += len(chunk)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _fill(self) -> bool:
        """Unpack the next piece; whether there is more."""
        import zstandard

        chunk = self._left or self._file.read(PIECE)
        self._left = b""
        if not chunk:
            if self._frame is not None:
                raise EOFError("the last Zstandard frame is cut short")
            return False
        if self._frame is None:
            # Corpora are packed with windows of up to 2 GiB (zstd --long=31).
            self._frame = zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
        try:
            self._ready, self._at = self._frame.decompress(chunk), 0
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from error
        if self._frame.eof:
            self._left, self._frame = self._frame.unused_data, None
        return True
