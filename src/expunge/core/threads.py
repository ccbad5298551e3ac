"""How threads wait for one another: they spin for microseconds, then sleep.

On a machine with other work, a thread that spins for long takes the core that the one it waits for would need.
"""

from __future__ import annotations

import os

SPIN = "GOMP_SPINCOUNT"
"environment variable of GNU's OpenMP, used by torch's wheels for Linux: rounds that a thread waits before it sleeps"
ROUNDS = "1000"
"of 0, 100, 1,000, 10,000 and the default: the most that still helps a busy machine (benchmarks/busy_machine)"
OTHERS = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS")


def wait_briefly() -> None:
    """Let waiting threads of matrix products sleep soon; call it before torch is imported.

    Does not override the user's setting. It changes no number.
    """
    if SPIN not in os.environ and "OMP_WAIT_POLICY" not in os.environ:
        os.environ[SPIN] = ROUNDS


def in_use() -> dict[str, str | int]:
    """Processors that this process may use, and how threads were told to wait: for the log of a run."""
    found: dict[str, str | int] = {
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    }
    return found | {name: os.environ[name] for name in (SPIN, *OTHERS) if name in os.environ}
