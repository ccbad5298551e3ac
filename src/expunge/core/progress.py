"""Progress of a run: one line per stage on stderr, live on a terminal, plain elsewhere."""

from __future__ import annotations

import time

from expunge.core.safe_text import clean


class Silent:
    """Shows nothing: for use from Python."""

    def stage(self, title: str) -> None: ...

    def update(self, share: float, note: str = "") -> None: ...

    def say(self, text: str) -> None: ...

    def close(self) -> None: ...


class Live(Silent):
    """A bar per stage on a terminal; in a file a line at the beginning of a stage, and one every 30 s with the time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True, highlight=False)
        self.bar = Progress(
            TextColumn("{task.description:<42}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.bar.start()
        self.task = self.bar.add_task("", total=1.0, note="", visible=False)
        self.title, self.started, self.said = "", 0.0, 0.0
        self.begun = False  # whether the line that a file shows last is a stage's, still without its time

    def stage(self, title: str) -> None:
        self._finish()
        self.title, self.started = title, time.monotonic()
        self.said = self.started
        self.bar.reset(self.task, total=1.0, description=title, visible=True, note="")
        if not self.console.is_terminal:
            self._print(f"{title:<42}", end="")
            self.begun = True

    def _finish(self) -> None:
        if self.title:
            seconds = f" {time.monotonic() - self.started:8.1f} s"
            if self.begun:
                self.begun = False
                self._print(seconds)
            else:
                self.say(f"{self.title:<42}{seconds}")
        self.title = ""

    def update(self, share: float, note: str = "") -> None:
        self.bar.update(self.task, completed=min(1.0, share), note=clean(note))
        if not self.console.is_terminal and time.monotonic() - self.said > 30:
            self.said = time.monotonic()
            left = f", about {_words(rest)} left" if (rest := self._left(share)) is not None else ""
            self.say(f"  {self.title}: {share:.0%}{left} {note}".rstrip())

    def _left(self, share: float) -> float | None:
        """Seconds that the rest of the stage takes at its speed so far; None at its beginning."""
        return None if share <= 0 else (time.monotonic() - self.started) * max(0.0, 1 - share) / share

    def say(self, text: str) -> None:
        if self.begun:
            self.begun = False
            self._print("")
        self._print(text)

    def _print(self, text: str, end: str = "\n") -> None:
        self.bar.console.print(clean(text), markup=False, soft_wrap=True, end=end)
        self.bar.console.file.flush()

    def close(self) -> None:
        self._finish()
        self.bar.update(self.task, visible=False)
        self.bar.stop()


def _words(seconds: float) -> str:
    """40 s, 12 min, 3.5 h"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
