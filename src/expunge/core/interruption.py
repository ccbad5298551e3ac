"""SIGINT and SIGTERM: exit at once; the same command resumes from what was saved last."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from expunge.errors import Interrupted

PATIENCE = 4.0
"seconds that a computation may continue after a signal: longer than a backward pass of a large model"
SHOW_CURSOR = b"\x1b[?25h\n"
"a progress bar hides the cursor of a terminal"


@contextlib.contextmanager
def interruptible(next_step: str) -> Iterator[None]:
    """Raise `Interrupted` in the main thread when SIGINT or SIGTERM arrives; end the process if it has not exited.

    It may be inside one long call of a library; or a library may have caught the exception.

    Nothing is saved at exit: everything on disk is always whole, and the loop saves at intervals, so
    leaving is quick and loses at most `save_seconds` of work.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    left = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        # A second signal must not break the clean-up that the first one began.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Interrupted(f"interrupted by {signal.Signals(number).name}", next_step=next_step)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end_where_it_stays, args=(reader, left, next_step), daemon=True).start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(fd_before)
        os.close(writer)  # ends the thread
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_where_it_stays(reader: int, left: threading.Event, next_step: str) -> None:
    """Wait for a signal's byte; end the process if the main thread has not exited in time."""
    while byte := os.read(reader, 1):
        if byte[0] in (signal.SIGINT, signal.SIGTERM) and not left.wait(PATIENCE):
            leave_now(f"expunge: interrupted by {signal.Signals(byte[0]).name}\n  next:    {next_step}\n")
    os.close(reader)


def leave_now(message: str) -> None:
    """Write a message to stderr, if that is still there, and end the process as interrupted. Never returns."""
    try:
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + message.encode())
    finally:
        os._exit(Interrupted.exit_code)
