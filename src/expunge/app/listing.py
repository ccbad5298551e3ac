"""The runs of a folder, read fast: a record each, cached as long as its file does not change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from expunge.core import storage
from expunge.core.plain_yaml import read_yaml
from expunge.errors import ExpungeError
from expunge.report.contents import targets_in_words
from expunge.runs.folder import LOCK, RunFolder

DEEP = 2
"levels of folders to search: suites contain runs, too"
State = Literal["at work", "finished", "interrupted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A run, as the table shows it.

    Attributes:
        name: path below the folder, with slashes. title: the target.
        passed: the verdict; None if there is none. audited: that of the audit.
        not_known: the base model knew the target too little for a verdict.
        changed: seconds since 1970 of its last change.
    """

    name: str
    title: str
    method: str
    model: str
    state: State
    passed: bool | None
    not_known: bool
    audited: bool
    has_audit: bool
    seconds: float | None
    changed: float


class Listing:
    """The runs below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read: dict[Path, tuple[float, dict[str, Any]]] = {}

    def rows(self) -> list[Row]:
        """Every run, the last changed one first."""
        busy = locked_inodes()
        return sorted((self._row(folder, busy) for folder in self._folders()), key=lambda row: -row.changed)

    def row(self, folder: RunFolder) -> Row:
        """One of them."""
        return self._row(folder.path, locked_inodes())

    def find(self, name: str) -> RunFolder | None:
        """The run of a name; None if there is none. Paths that leave the folder are refused."""
        try:
            path = (self.root / name).resolve()
            inside = path.is_relative_to(self.root) and path != self.root
            return RunFolder(path) if inside and (path / "recipe.yaml").is_file() else None
        except (OSError, ValueError):  # a name that no file can have
            return None

    def _folders(self) -> Iterator[Path]:
        def below(folder: Path, levels: int) -> Iterator[Path]:
            try:
                entries = [entry for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith(".")]
            except OSError:
                return
            for entry in entries:
                path = Path(entry.path)
                if (path / "recipe.yaml").is_file() and (path / "events.jsonl").is_file():
                    yield path
                elif levels > 1:
                    yield from below(path, levels - 1)

        yield from below(self.root, DEEP)

    def _row(self, path: Path, busy: set[tuple[int, int]] | None) -> Row:
        folder = RunFolder(path)
        record = self._content(folder.record)
        recipe = {"model": _model(folder.recipe)} if record else self._content(folder.recipe)
        audit = self._content(folder.audit / "audit.json")
        verdict, cost = _mapping(record.get("verdict")), _mapping(record.get("cost"))
        method, seconds = record.get("method") or recipe.get("method") or {}, cost.get("seconds_total")
        state: State = "finished" if record else "interrupted"
        if at_work(path, busy):
            state = "at work"
        return Row(
            name=path.relative_to(self.root).as_posix(),
            title=str(record.get("title") or targets_in_words(recipe) or path.name),
            method=str(method.get("name", "") if isinstance(method, dict) else method),
            model=str(recipe.get("model") or ""),
            state=state,
            passed=verdict["passed"] is True if "passed" in verdict else None,
            not_known=bool(verdict.get("not_known")),
            audited=audit.get("passed") is True,
            has_audit=bool(audit),
            seconds=seconds if isinstance(seconds, int | float) else None,
            changed=max(_changed(folder.record), _changed(folder.events)),
        )

    def _content(self, path: Path) -> dict[str, Any]:
        """The content of a file; empty if it is missing or damaged."""
        changed = _changed(path)
        known = self._read.get(path)
        if known is not None and known[0] == changed:
            return known[1]
        content: Any = {}
        try:
            if changed:
                text = path.suffix == ".yaml"
                content = read_yaml(path.read_text("utf-8")) if text else storage.read_json(path)
        except (ExpungeError, OSError, ValueError, yaml.YAMLError):
            content = {}
        found = content if isinstance(content, dict) else {}
        self._read[path] = (changed, found)
        return found


def at_work(path: Path, busy: set[tuple[int, int]] | None = None) -> bool:
    """Whether a process has locked the run folder."""
    lock = path / LOCK
    try:
        status = lock.stat()
    except OSError:
        return False
    held = locked_inodes() if busy is None else busy
    return (status.st_dev, status.st_ino) in held


def locked_inodes() -> set[tuple[int, int]]:
    """(device, inode) of every file locked by flock. This must not take a lock itself: a run that starts in
    that instant would be refused. Empty if the system has no /proc/locks."""
    found = set()
    try:
        with open("/proc/locks", encoding="ascii") as file:
            for line in file:
                words = line.split()
                if "FLOCK" in words and "->" not in words:
                    major, minor, inode = next(word for word in words if word.count(":") == 2).split(":")
                    found.add((os.makedev(int(major, 16), int(minor, 16)), int(inode)))
    except (OSError, ValueError, StopIteration):
        return found
    return found


def _model(path: Path) -> str:
    """The field `model` of a run's recipe, without reading the rest: YAML is slow."""
    try:
        with open(path, encoding="utf-8") as file:
            line = next((line for line in file if line.startswith("model: ")), "")
        return str(read_yaml(line)["model"]) if line else ""
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
