"""SIGINT and SIGTERM."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from expunge.core.interruption import interruptible
from expunge.errors import Interrupted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_with_its_exit_code_and_the_way_back(number: signal.Signals) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted) as caught, interruptible("run the same command again"):
        os.kill(os.getpid(), number)
    assert caught.value.exit_code == 130
    assert number.name in str(caught.value)
    assert "run the same command again" in str(caught.value)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_signal_does_not_break_the_clean_up() -> None:
    cleaned = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append(True)

    with pytest.raises(Interrupted, match="SIGINT"), interruptible("again"):
        work()
    assert cleaned


def test_a_library_that_catches_every_exception_cannot_keep_a_signal() -> None:
    def library() -> None:
        with contextlib.suppress(Exception):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted), interruptible("again"):
        library()


def test_a_library_that_catches_everything_cannot_keep_it_for_long() -> None:
    code = (
        "import contextlib, os, signal, time\n"
        "from expunge.core import interruption\n"
        "interruption.PATIENCE = 0.3\n"
        "with interruption.interruptible('type it again'):\n"
        "    with contextlib.suppress(BaseException):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(20)\n"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert "SIGTERM" in done.stderr
    assert "type it again" in done.stderr
    assert time.monotonic() - start < 15


def test_without_a_signal_nothing_changes() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interruptible("again"):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_signals_are_left_alone() -> None:
    seen = []

    def work() -> None:
        with interruptible("again"):
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_call_that_does_not_listen_is_left_too() -> None:
    """A long product of matrices holds the main thread; the process ends all the same, and says how to resume."""
    code = (
        "import torch\n"
        "from expunge.core import interruption\n"
        "interruption.PATIENCE = 0.5\n"
        "torch.set_num_threads(1)\n"
        "m = torch.ones(8000, 8000)\n"
        "with interruption.interruptible('type it again'):\n"
        "    print('ready', flush=True)\n"
        "    for _ in range(100): torch.linalg.matrix_power(m, 1024)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert "type it again" in said


def test_a_message_that_nobody_reads_keeps_no_process_alive() -> None:
    code = "import os; from expunge.core.interruption import leave_now as leave; r, w = os.pipe(); os.close(r); os.dup2(w, 2)"
    code += "; leave('x')"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 130
