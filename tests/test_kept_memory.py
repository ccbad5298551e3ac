"""What is said and asked of the machine's memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from expunge.core.memory import peak_memory_bytes

FAULTS = """
import resource, torch
from expunge.core.memory import keep_freed_memory
def work():
    for _ in range(10):
        torch.ones(20_000_000)  # 80 MB: more than glibc keeps by itself
def faults():
    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
returned = faults()
print(returned, faults() if keep_freed_memory() else -1)
"""


def test_freed_memory_is_kept_for_the_next_request() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    returned, kept = map(int, done.stdout.split())
    if kept < 0:
        pytest.skip("not glibc")
    assert kept < returned / 4


def test_the_peak_holds_what_was_held() -> None:
    before = peak_memory_bytes()
    block = bytearray(before + (64 << 20))
    block[::4096] = b"x" * len(block[::4096])
    assert peak_memory_bytes() >= before + (64 << 20)
