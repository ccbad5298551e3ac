"""SIGINT and SIGTERM: leave at once; what was saved last is where the same command goes on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from expunge.errors import Interrupted


@contextlib.contextmanager
def interruptible(next_step: str) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when SIGINT or SIGTERM arrives.

    Nothing is saved on the way out: everything on disk is whole at every instant, and the loop saves by the clock, so
    leaving is quick and loses at most `save_seconds` of work.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        # A second signal must not break the clean-up that the first one began.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted(f"interrupted by {signal.Signals(number).name}", next_step=next_step)

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
