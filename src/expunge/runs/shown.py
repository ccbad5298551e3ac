"""Progress of a run at work, in its folder: other programs (the page) can show it while it lasts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from typing import Any

from expunge.core.progress import Silent
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder

EVERY = 0.5
"seconds between two notes of a stage"


class Noted(Silent):
    """A display that also notes in the run folder what it shows. A note that cannot be written changes nothing of the run."""

    def __init__(self, display: Silent, folder: RunFolder) -> None:
        self.display, self.path = display, folder.shown
        self.aside = self.path.with_name(self.path.name + "~")
        self.title, self.wrote = "", 0.0
        self.first: tuple[float, float] | None = None

    def stage(self, title: str) -> None:
        self.display.stage(title)
        self.title, self.first = title, None
        self._write({"title": title, "share": None, "left": None})

    def update(self, share: float, note: str = "") -> None:
        self.display.update(share, note)
        now, share = time.monotonic(), min(1.0, max(0.0, share))
        if self.first is None or share < self.first[1]:
            self.first = (now, share)  # a resumed stage does not begin at 0
        if share < 1 and now - self.wrote < EVERY:
            return
        done, taken = share - self.first[1], now - self.first[0]
        left = round(taken * (1 - share) / done, 1) if done > 0 else None
        self._write({"title": self.title, "share": round(share, 4), "left": left})

    def say(self, text: str) -> None:
        self.display.say(text)

    def close(self) -> None:
        self.display.close()

    def forget(self) -> None:
        """Remove the note."""
        for path in (self.path, self.aside):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _write(self, note: dict[str, Any]) -> None:
        self.wrote = time.monotonic()
        # Not flushed to the disk: a note is of no use after the run.
        with contextlib.suppress(OSError):
            self.aside.write_text(json.dumps(note | {"time": round(time.time(), 3)}), "utf-8")
            os.replace(self.aside, self.path)


@contextlib.contextmanager
def noted(run: Run[Any]) -> Iterator[None]:
    """Note in its folder what a run shows, until it ends in any way."""
    display = run.show
    run.show = note = Noted(display, run.folder)
    try:
        yield
    finally:
        run.show = display
        note.forget()


def note_of(folder: RunFolder) -> dict[str, Any]:
    """What a run at work noted last: the `title` of its stage, the `share` done of it, and the seconds `left` of it,
    counted down since; None for what is not known. Empty without a note."""
    try:
        found = json.loads(folder.shown.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    share, left, at = (found.get(name) for name in ("share", "left", "time"))
    if isinstance(left, int | float) and isinstance(at, int | float):
        left = max(0.0, left - max(0.0, time.time() - at))
    else:
        left = None
    known = share if isinstance(share, int | float) else None
    return {"title": str(found.get("title") or ""), "share": known, "left": left}
