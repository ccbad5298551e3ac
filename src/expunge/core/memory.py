"""The memory that this process uses, and how it is returned to the system."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path

from expunge.errors import RunError, first_line

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"parameters of glibc's mallopt (malloc.h)"
_LARGE = 1 << 30
_USUAL = 128 << 10
"glibc's own thresholds"


def peak_memory_bytes() -> int:
    """The most memory this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_peak_bytes() -> int | None:
    """The most that tensors of this process took of a GPU at once, as counted by torch; None if none is used."""
    torch = sys.modules.get("torch")  # without it no GPU is used
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return int(torch.cuda.max_memory_allocated())


def out_of_memory(error: Exception) -> RunError | None:
    """The error for exhausted memory; None for other errors."""
    torch = sys.modules.get("torch")
    on_device = torch is not None and isinstance(error, torch.OutOfMemoryError)
    on_machine = isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error)
    if not on_device and not on_machine:
        return None
    return RunError(
        "the GPU is out of memory" if on_device else "the machine is out of memory",
        seen=first_line(error) or None,
        next_step="end other programs that use it; for a language model, also give --training.gradient_checkpointing true: "
        "the same command resumes from its checkpoint either way. expunge plan RECIPE lists options that take less",
    )


def give_back_freed_memory() -> bool:
    """Return memory to the system as it is freed, the default: less is held, and large blocks cost time again.

    Returns whether it could be done: only glibc supports it.
    """
    try:
        libc = ctypes.CDLL(None)
        done = bool(libc.mallopt(_MMAP_THRESHOLD, _USUAL)) and bool(libc.mallopt(_TRIM_THRESHOLD, _USUAL))
        libc.malloc_trim(0)
        return done
    except (OSError, AttributeError):  # another system's library
        return False


def resident_bytes() -> int:
    """Main memory that this process holds now; 0 if unknown."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def keep_freed_memory() -> bool:
    """Let the allocator keep freed memory for the next request, instead of returning it to the system each time.

    Every step of a training needs the same large blocks again; on a CPU, getting each from the system
    (and having it cleared, page by page) takes a tenth of the time. Changes no number. Returns whether it could be
    done: only glibc supports it.
    """
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE - 1))
    except (OSError, AttributeError):  # another system's library
        return False


def machine_memory() -> tuple[int, int | None]:
    """(bytes of main memory in all, bytes free now), within the limits of the process; None if unknown."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    free = None
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    if limit is not None and limit < total:
        used = _number(Path("/sys/fs/cgroup/memory.current")) or 0
        free = limit - used if free is None else min(free, limit - used)
        total = limit
    return total, free


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
