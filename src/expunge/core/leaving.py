"""Immediate process exit, without cleanup."""

from __future__ import annotations

import os

from expunge.errors import Interrupted

SHOW_CURSOR = b"\x1b[?25h\n"
"a progress bar hides the cursor of a terminal"


def leave_now(message: str) -> None:
    """Write a message to stderr, if that is still there, and end the process as interrupted. Never returns."""
    try:
        os.write(2, (SHOW_CURSOR if os.isatty(2) else b"") + message.encode())
    finally:
        os._exit(Interrupted.exit_code)
