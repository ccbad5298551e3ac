"""What is said and asked of the machine's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from expunge.core.memory import peak_memory_bytes

FAULTS = """
import resource, sys, torch
from expunge.core.memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    print(-1)
    sys.exit()
def work():
    for _ in range(20):
        torch.ones(20_000_000)  # 80 MB: more than glibc keeps by itself
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True).stdout)


def test_freed_memory_is_kept_for_the_next_request() -> None:
    kept = faults("keep")
    if kept < 0:
        pytest.skip("not glibc")
    assert kept < faults("return") / 4


def test_the_peak_holds_what_was_held() -> None:
    before = peak_memory_bytes()
    block = bytearray(before + (64 << 20))
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes() >= before + (64 << 20)
