"""What this process takes of the machine's memory, and how it gives it back."""

from __future__ import annotations

import ctypes
import resource
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"parameters of glibc's mallopt (malloc.h)"
_LARGE = 1 << 30
_USUAL = 128 << 10
"glibc's own thresholds"


def peak_memory_bytes() -> int:
    """The most memory this process has held at once."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def give_back_freed_memory() -> bool:
    """Hand memory back to the system as it is freed, as is usual: less is held, and large blocks cost time again.

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
    """Main memory that this process holds now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return 0


def keep_freed_memory() -> bool:
    """Let the allocator keep what is freed for the next request, in place of handing it back to the system each time.

    Every step of a training asks for the same large blocks again; on a processor, getting each from the system
    (and having it cleared, page by page) takes a tenth of the time. Changes no number. Returns whether it could be done: only
    glibc supports it.
    """
    try:
        libc = ctypes.CDLL(None)
        return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGE)) and bool(libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE - 1))
    except (OSError, AttributeError):  # another system's library
        return False
