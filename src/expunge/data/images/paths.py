"""Paths that data gives for its pictures: inside its own folder, or refused."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from expunge.errors import DataError


def inside(folder: Path, name: str, where: str) -> Path:
    """The file that `name` means below `folder`.

    Args:
        where: what to call the place of the name in an error.

    Raises:
        DataError: an empty or absolute path, one with `..`, or a link that leads out of the folder.
    """
    plain = name.replace("\\", "/")
    if not plain.strip() or "\0" in plain or PurePosixPath(plain).is_absolute() or PureWindowsPath(name).drive:
        raise _escape(folder, name, where)
    if ".." in PurePosixPath(plain).parts:
        raise _escape(folder, name, where)
    path = folder / plain
    refuse_outside(folder, path, where)
    return path


def refuse_outside(folder: Path, path: Path, where: str) -> None:
    """Raise where a link takes the path out of the folder.

    The cache of the Hugging Face hub is one folder in this: its snapshots are links to blobs beside them.
    """
    root = folder.resolve()
    for parent in (root, *root.parents):
        if parent.name == "snapshots" and (parent.parent / "blobs").is_dir():
            root = parent.parent
            break
    if not path.resolve().is_relative_to(root):
        raise _escape(folder, str(path.relative_to(folder)), where)


def _escape(folder: Path, name: str, where: str) -> DataError:
    return DataError(
        f"{where} names a picture that is not inside {folder}",
        seen=repr(name),
        allowed="a path relative to that folder, without .. and without links that lead out",
        next_step="move the picture into the folder, or give the folder that holds all pictures",
    )
