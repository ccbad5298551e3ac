"""Runs that the page starts and stops: separate processes, which continue when the app is closed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from expunge.app.listing import at_work
from expunge.core import storage
from expunge.errors import ExpungeError, RunError

PLACE = ".app"
"folder below that of the runs: recipes that the page wrote, output of runs, and their process numbers"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TAIL = 4000
"characters of a run's output to show"


class Jobs:
    """Processes of runs below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.place = self.root / PLACE
        self._mine: dict[str, subprocess.Popen[bytes]] = {}

    def draft(self, name: str) -> Path:
        """The path of the recipe of a run that was not started.

        Raises:
            RunError: the name is not valid for a folder.
        """
        if NAME.fullmatch(name) is None:
            raise RunError(
                f"{name!r} is not a name for a run",
                allowed="letters, digits, dots, hyphens and underscores, 64 at most",
            )
        return self.place / f"{name}.yaml"

    def start(self, name: str, recipe: Path) -> None:
        """Start or resume a run in a process of its own.

        Raises:
            RunError: one is at work in the folder.
        """
        folder = self.root / name
        if at_work(folder) or self._alive(name):
            raise RunError(f"a process is at work in {folder}", next_step="stop it first, or wait for it")
        with storage.storage_errors(self.place):
            self.place.mkdir(parents=True, exist_ok=True)
            log = open(self._file(name, "log"), "wb")  # noqa: SIM115 - the child's
        command = [sys.executable, "-m", "expunge", "run", str(recipe), "--out", str(folder)]
        with log:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._mine[name] = child
        storage.write_json(self._file(name, "json"), {"process": child.pid})

    def stop(self, name: str) -> None:
        """Interrupt a run, as Ctrl-C does; it resumes where it stopped.

        Raises:
            RunError: the process at work there was not started by the page.
        """
        process = self._process(name)
        if process is None:
            raise RunError(
                f"no process that the page started is at work in {name}",
                next_step="press Ctrl-C in the terminal that started it",
            )
        os.kill(process, signal.SIGINT)

    def can_stop(self, name: str) -> bool:
        """Whether the process at work there was started by the page."""
        return self._process(name) is not None

    def printed(self, name: str) -> str:
        """The end of a run's output."""
        try:
            with open(self._file(name, "log"), "rb") as file:
                file.seek(0, os.SEEK_END)
                file.seek(max(0, file.tell() - TAIL))
                return file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""

    def ended(self, name: str) -> int | None:
        """The exit code of a run that this app started; None while it is at work, or if something else started it."""
        child = self._mine.get(name)
        return None if child is None else child.poll()

    def _alive(self, name: str) -> bool:
        child = self._mine.get(name)
        return child is not None and child.poll() is None

    def _process(self, name: str) -> int | None:
        if self._alive(name):
            return self._mine[name].pid
        try:
            noted: dict[str, Any] = storage.read_json(self._file(name, "json"))
            number = int(noted["process"])
            words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
        except (ExpungeError, OSError, ValueError, KeyError, TypeError):
            return None
        # The number of a finished process may belong to another by now.
        return number if str(self.root / name).encode() in words else None

    def _file(self, name: str, ending: str) -> Path:
        return self.place / f"{name.replace('/', '--')}.{ending}"
