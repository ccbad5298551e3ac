"""Who may ask which model now: both sides of a run at the same time, each one question at a time, in the order of asking."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator
from typing import Literal

Side = Literal["before", "after"]
LOOK = 0.5
"seconds between two signs of somebody who waits"


class Turns:
    """A queue of questions. Who needs a model that is not loaded has a turn alone, until it is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[object] = []
        self._busy: set[Side] = set()
        self._alone = False

    def wait(self, side: Side, ready: Callable[[], bool], stop: threading.Event) -> Generator[str, None, bool]:
        """Wait for a turn; an empty text every `LOOK` seconds shows that the queue is still there.

        Args:
            ready: whether this side's model is loaded. stop: when set, ends the waiting.

        Returns:
            Whether there is a turn, which `taken` must give back.
        """
        me = object()
        with self._changed:
            self._waiting.append(me)
        try:
            while not stop.is_set():
                with self._changed:
                    if self._free(me, side, ready):
                        self._alone = not ready()
                        self._busy.add(side)
                        return True
                    self._changed.wait(LOOK)
                    free = self._free(me, side, ready)
                if not free:
                    yield ""
            return False
        finally:
            with self._changed:
                self._waiting.remove(me)
                self._changed.notify_all()

    def _free(self, me: object, side: Side, ready: Callable[[], bool]) -> bool:
        if self._waiting[0] is not me or self._alone or side in self._busy:
            return False
        return not self._busy or ready()

    def share(self) -> None:
        """The models are loaded: the other side may be asked."""
        with self._changed:
            self._alone = False
            self._changed.notify_all()

    @contextlib.contextmanager
    def taken(self, side: Side) -> Iterator[None]:
        """A turn, given back at the end."""
        try:
            yield
        finally:
            with self._changed:
                self._busy.discard(side)
                self._alone = False
                self._changed.notify_all()
