"""How threads wait for one another: asleep, not spinning. On a machine with other work, a spinning thread takes the core that
the one it waits for would need."""

from __future__ import annotations

import os

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"environment variables of OpenMP (specification 5.2, section 21.7; GNU's and Intel's own): wait by sleeping"


def wait_asleep() -> dict[str, str]:
    """Let the threads of matrix products sleep while they wait; must be called before torch is imported.

    What the user has set stays. It changes no number. `benchmarks/busy_machine` holds the figures.

    Returns:
        The variables in effect, by name.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ.update(WAITING)
    return {name: os.environ[name] for name in WAITING if name in os.environ}


def in_use() -> dict[str, str | int]:
    """Processors that this process may use, and how threads were told to wait: for the log of a run."""
    found: dict[str, str | int] = {
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    }
    return found | {name: os.environ[name] for name in ("OMP_NUM_THREADS", *WAITING) if name in os.environ}
