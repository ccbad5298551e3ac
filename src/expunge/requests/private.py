"""Personal data of a ledger in the clear, separate from its chain: who asked, and the files' paths.

`key` makes the digests of the chain; without it names cannot be tested against them. `private/` has a file for each
request that is not closed, and the files of a run under neutral names.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import DataError, RunError


def read_key(path: Path) -> bytes:
    """The key of a ledger. Raises `RunError` if it is missing, invalid, or readable by others."""
    with storage.reading(path):
        if not path.is_file():
            raise RunError(
                f"{path} is missing: the digests of the ledger cannot be made or compared without it",
                next_step="restore it from a backup",
            )
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise RunError(
                f"others may read {path}", allowed="a file readable only by its owner", next_step=f"chmod 600 {path}"
            )
        text = path.read_text(encoding="ascii", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise RunError(f"{path} is not a ledger's key", allowed="32 bytes, as hexadecimal digits")
    return key


def salted(key: bytes, what: str, value: bytes) -> str:
    """HMAC-SHA256 of a value under the ledger's key; `what` separates digests of different kinds."""
    return hmac.new(key, what.encode() + b"\0" + value, hashlib.sha256).hexdigest()


def salted_file(key: bytes, path: Path) -> str:
    """HMAC-SHA256 of a file's sha256. Raises `StorageError` if it cannot be read."""
    return salted(key, "file", bytes.fromhex(storage.digest_file(path)))


def list_files(targets: Iterable[Path]) -> list[Path]:
    """The files that targets name, absolute and in order; for a folder all below it, without links and hidden ones.

    Raises:
        DataError: a target does not exist, has no file, or has a folder or file without permission.
    """
    found: list[Path] = []
    for target in targets:
        try:
            files = sorted(_below(target)) if target.is_dir() else [target.absolute()] * target.is_file()
        except OSError as error:
            raise DataError(
                f"{error.filename} cannot be read",
                seen=error.strerror,
                next_step="give yourself permission to read it",
            ) from error
        if not files:
            why = "there is no such file or folder" if not target.exists() else "there is no file in it"
            raise DataError(f"{target}: {why}", next_step="name the files with the person's data")
        found += files
    return found


def _below(folder: Path) -> Iterator[Path]:
    from expunge.data.text.text_files import refuse_listing  # slow to load, and only needed to add

    for parent, folders, names in os.walk(folder, onerror=refuse_listing):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith(".") and stat.S_ISREG(os.lstat(path := os.path.join(parent, name)).st_mode):
                yield Path(path).absolute()


_NAME = re.compile(r"\.?R(\d{6,})[-.]")


@dataclass(frozen=True, slots=True)
class Private:
    """The private folder of a ledger."""

    path: Path

    def _of(self, request: int) -> Path:
        return self.path / f"R{request:06d}.json"

    def write(self, request: int, subject: str, files: Iterable[Path]) -> None:
        """Note who asked and the files' paths; leftovers of a killed add of this number are deleted."""
        for file in self.path.glob(f".R{request:06d}.json.*"):
            file.unlink(missing_ok=True)
        content = {"subject": subject, "files": [str(file) for file in files]}
        storage.write_own(self._of(request), json.dumps(content, ensure_ascii=False).encode())

    def read(self, request: int) -> Mapping[str, Any] | None:
        """The notes; None if they were deleted."""
        path = self._of(request)
        return storage.read_json(path) if path.is_file() else None

    def numbers(self) -> set[int]:
        """Requests with notes."""
        return {int(file.stem[1:]) for file in self.path.glob("R*.json")}

    def folder_of(self, run: str) -> Path:
        """The folder of a run's files while its requests are open."""
        return self.path / "files" / run

    def lay_out(self, run: str, files: Iterable[tuple[str, Path]]) -> Path:
        """A folder with the files of a run under neutral names; hard links if the disk supports them, else copies.

        Args:
            files: (name, path).
        """
        folder = self.folder_of(run)
        with storage.storage_errors(folder, "choose another --ledger"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name, source in files:
                place, aside = folder / name, folder / f".{name}.aside"
                if place.exists():
                    continue
                aside.unlink(missing_ok=True)
                try:
                    os.link(source.resolve(), aside)
                except OSError:  # another disk, or a file of somebody else
                    shutil.copyfile(source, aside)
                    aside.chmod(storage.OWN)
                os.replace(aside, place)
        return folder

    def remove(self, request: int) -> None:
        """Delete the notes of a request, leftovers of crashes, and its files in the folders of runs."""
        with storage.storage_errors(self.path, "give yourself permission to delete there, and close it again"):
            self._of(request).unlink(missing_ok=True)
            for number, file in self.left_over():
                if number == request:
                    file.unlink(missing_ok=True)
                    if file.parent != self.path:
                        with contextlib.suppress(OSError):  # files of other requests are still in it
                            file.parent.rmdir()
            storage.flush_folder(self.path)

    def left_over(self) -> list[tuple[int, Path]]:
        """(request, file) of the files laid out for runs, and of leftovers of crashes."""
        files = (*self.path.glob(".R*.json.*"), *self.path.glob("files/*/R*"), *self.path.glob("files/*/.R*"))
        return [(int(name[1]), file) for file in sorted(files) if (name := _NAME.match(file.name)) is not None]
