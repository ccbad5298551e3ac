"""Files that are whole or missing: written aside, flushed, renamed; digests; no pickle anywhere."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.errors import Explained, StorageError

CHUNK = 1 << 20
"bytes read at once when a file is digested"
_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(?P<what>aside|old)-[a-z0-9_]{8}", re.DOTALL)
"what is written aside: the name that it will get, and eight random characters"


@contextlib.contextmanager
def storage_errors(path: Path, elsewhere: str | None = None) -> Iterator[None]:
    """Turn an `OSError` while `path` is written into a `StorageError` with the cause and the next step.

    The failed file may be another one, read in between: then the error has its name.

    Args:
        elsewhere: what to do if `path` cannot be written; default: choose another --out.
    """
    try:
        yield
    except Explained:
        raise
    except OSError as error:
        raise _storage_error(path, error, elsewhere) from error
    except Exception as error:  # safetensors and tokenizers report a full disk as exception types of their own
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise _storage_error(path, OSError(int(number[1]), os.strerror(int(number[1]))), elsewhere) from error


_PERMISSION = "choose another --out folder, or give yourself permission to write there"
_FULL = "free some space and run the same command again: finished work is saved"
_WRITING = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the file size limit (ulimit -f) and run the same command again",
    errno.EROFS: "choose another --out folder: this file system is read-only",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
}


def _storage_error(path: Path, error: OSError, elsewhere: str | None) -> StorageError:
    seen, again = error.strerror or str(error), "check the path and run the same command again"
    if isinstance(error.filename, str | bytes | os.PathLike) and not _belongs(Path(os.fsdecode(error.filename)), path):
        name = os.fsdecode(error.filename)
        denied = error.errno in (errno.EACCES, errno.EPERM)
        step = "give yourself permission to read it, and run the same command again" if denied else again
        return StorageError(f"cannot read {name}", seen=seen, next_step=step)
    if error.filename is None and error.errno not in _WRITING:
        return StorageError(f"reading or writing failed while {path} was made", seen=seen, next_step=again)
    step = _WRITING.get(error.errno or 0, again)
    if elsewhere is not None and step is not _FULL:
        step = elsewhere
    return StorageError(f"cannot write {path}", seen=seen, next_step=step)


def _belongs(name: Path, path: Path) -> bool:
    """Whether a file is `path`, in it, above it, or its temporary file."""
    if path.is_relative_to(name) or name.is_relative_to(path):
        return True
    return name.is_relative_to(path.parent) and name.relative_to(path.parent).parts[0].startswith(f".{path.name}.")


OWN = 0o600
"permissions of a file that its owner alone may read"


def write_bytes(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file so that a crash leaves the old one or the new one, never a part; `mode` is reduced by the umask."""
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _beside(path, "aside")
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise


def write_own(path: Path, content: bytes) -> None:
    """Write a file that its owner alone may read; it is on the disk, name and all, when this returns."""
    write_bytes(path, content, OWN)
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the disk holds a folder's names: of files that were renamed or deleted there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path, what: str) -> Path:
    """A new name in the folder of `path`. Files there get the permissions of the user's umask."""
    return path.parent / f".{path.name}.{what}-{secrets.token_hex(4)}"


def folder_beside(path: Path, what: str = "aside") -> Path:
    """A new, empty folder in the folder of `path`, with the permissions of the user's umask."""
    made = _beside(path, what)
    made.mkdir()
    return made


def _open_to_readers(folder: Path) -> None:
    """Give files in `folder` the permissions that they get from plain `open`; some libraries write for the owner alone.

    The folder itself was made by plain `mkdir`, so its permissions show the umask. If the file system keeps no
    permissions, nothing is done. Folders keep their setgid bit.
    """
    allowed = folder.stat().st_mode & 0o777
    for entry in folder.rglob("*"):
        if not entry.is_symlink():
            special = entry.stat().st_mode & 0o7000
            with contextlib.suppress(PermissionError):
                entry.chmod(special | allowed if entry.is_dir() else allowed & 0o666)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON; NaN and infinity are refused, since other readers refuse them."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing", next_step="run the command that writes it again") from error
    except PermissionError as error:
        raise unreadable(error, path) from error
    except (OSError, ValueError) as error:
        raise StorageError(
            f"cannot read {path}",
            seen=error,
            next_step="run the command that made it again; if that stops here too, delete the file first",
        ) from error


def read_json_or_none(path: Path) -> Any:
    """The same; None if the file is readable, but not JSON."""
    try:
        return read_json(path)
    except StorageError as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        return None


@contextlib.contextmanager
def folder_aside(path: Path, elsewhere: str | None = None) -> Iterator[Path]:
    """Fill a temporary sibling folder, then rename it to `path`; on any error `path` stays as it was.

    `elsewhere` as in `storage_errors`.
    """
    with storage_errors(path, elsewhere):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = folder_beside(path)
    old = None
    try:
        with storage_errors(path, elsewhere):
            yield aside
            for file in sorted(aside.rglob("*")):
                if file.is_file():
                    with open(file, "rb") as handle:
                        os.fsync(handle.fileno())
            _open_to_readers(aside)
            if path.exists():
                old = folder_beside(path, "old")
                os.replace(path, old / "old")
            os.replace(aside, path)
            if old is not None:
                shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        if old is not None:
            _put_back(old, path)
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _put_back(old: Path, path: Path) -> None:
    """End what `folder_aside` began with an existing folder: restored, or deleted if its place is taken."""
    with contextlib.suppress(OSError):
        if not path.exists():
            os.replace(old / "old", path)
    shutil.rmtree(old, ignore_errors=True)


def remove_leftovers(folder: Path, names: str = ".+") -> None:
    """Delete what an interrupted `folder_aside` or `write_bytes` left in `folder`; a folder set aside comes back.

    Args:
        names: a pattern of files written in that folder. Other leftovers are not ours.
    """
    if not folder.is_dir():
        return
    for entry in list(folder.iterdir()):
        found = _LEFTOVER.fullmatch(entry.name)
        if found is None or re.fullmatch(names, found["name"]) is None or entry.is_symlink():
            continue
        if found["what"] == "aside" and entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif found["what"] == "aside":
            entry.unlink(missing_ok=True)
        elif entry.is_dir() and {inside.name for inside in entry.iterdir()} <= {"old"}:
            _put_back(entry, folder / found["name"])


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name was written aside, and a crash left it there."""
    return _LEFTOVER.fullmatch(name) is not None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an `OSError` met while `path` was read into a `StorageError` that says what could not be read, and why."""
    try:
        yield
    except OSError as error:
        raise unreadable(error, path) from error


def unreadable(error: OSError, path: Path | None = None) -> StorageError:
    """The error for a file or folder that cannot be read; `path` where `error` names none."""
    named = isinstance(error.filename, str | bytes | os.PathLike)
    name = os.fsdecode(error.filename) if named else str(path or "a file")
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return StorageError(
        f"cannot read {name}",
        seen=error.strerror or str(error),
        next_step=f"ask its owner to let you read it: chmod -R a+rX {path or name}"
        if denied
        else "check the path and run the same command again",
    )


def digest_file(path: Path) -> str:
    """sha256 of a file, hex. Raises as `reading`."""
    sha = hashlib.sha256()
    with reading(path), open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
    return sha.hexdigest()


def digest_folder(folder: Path) -> dict[str, str]:
    """sha256 of every file below `folder`, by relative path with forward slashes."""
    return {
        file.relative_to(folder).as_posix(): digest_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


def digest_value(value: Any) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
