"""A ledger under several processes that are killed: is anything lost, and how long does a list take?

    python benchmarks/ledger/run.py [--requests 10000] [--processes 4] [--kills 100]

Each process adds its share of the requests, extends one in ten and refuses one in twenty; it notes what it was told is done.
One of them after another is killed (SIGKILL) at a random instant, and started again. In the end everything that was
noted must be in the ledger, each request once, and the chain whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from expunge.requests.ledger import Ledger


def work(place: Path, name: str, share: int) -> None:
    """Add a process's share of the requests, from where its notes end."""
    notes = place / f"{name}.txt"
    written = notes.read_bytes() if notes.is_file() else b""
    done = written.count(b"\n")
    with closing(Ledger.open_or_create(place / "ledger")) as ledger, open(notes, "ab") as file:
        file.truncate(written.rfind(b"\n") + 1)  # a line that was being written
        for each in range(done, share):
            made, _ = ledger.add(f"subject {each}", [place / "letter.txt"], idempotency_key=f"{name}-{each}")
            if each % 10 == 0 and ledger.last(made.number, "extended") is None:
                ledger.extend(made.number, "many requests")
            if each % 20 == 1 and made.state == "open":
                ledger.refuse(made.number, "a legal claim")
            file.write(f"{made.name} {name}-{each}\n".encode())
            file.flush()


def start(place: Path, name: str, share: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, __file__, "--work", name, "--share", str(share), "--place", str(place)])


def try_it(place: Path, requests: int, processes: int, kills: int, seed: int = 0) -> dict[str, Any]:
    """Run the processes to the end, killing as often; what was found."""
    share = requests // processes
    (place / "letter.txt").write_text("what a person wrote\n", encoding="utf-8")
    draw, begun = random.Random(seed), time.monotonic()
    names = [f"process{number}" for number in range(processes)]
    running = {name: start(place, name, share) for name in names}
    killed = 0
    while running:
        time.sleep(draw.uniform(0.05, 0.4))
        for name in [name for name, process in running.items() if process.poll() is not None]:
            assert running.pop(name).returncode == 0, name
        if running and killed < kills:
            name = draw.choice(sorted(running))
            running[name].send_signal(signal.SIGKILL)
            if running[name].wait() == -signal.SIGKILL:
                killed += 1
            running[name] = start(place, name, share)
    seconds = time.monotonic() - begun
    with closing(Ledger.open(place / "ledger")) as ledger:
        noted = [line.split()[0] for name in names for line in (place / f"{name}.txt").read_text().splitlines()]
        there = {each.name for each in ledger.requests()}
        found, events, _ = ledger.findings()
        return {
            "requests": len(there),
            "wanted": share * processes,
            "lost": sorted(set(noted) - there),
            "added twice": len(noted) - len(set(noted)),
            "broken": found,
            "events": events,
            "killed": killed,
            "seconds": round(seconds, 1),
        }


def list_seconds(place: Path, turns: int = 5) -> dict[str, float]:
    """The shortest of some turns of `expunge request list`, with the start of Python: on the clock, and of the processor."""
    clock, processor = [], []
    for _ in range(turns):
        begun = time.monotonic()
        command = [sys.executable, "-m", "expunge", "request", "list", "--ledger", str(place / "ledger")]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        clock.append(time.monotonic() - begun)
        processor.append(usage.ru_utime + usage.ru_stime)
    return {"clock": round(min(clock), 3), "processor": round(min(processor), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--kills", type=int, default=100)
    for name, kind in (("--work", str), ("--share", int), ("--place", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work is not None:
        work(given.place, given.work, given.share)
        return
    with tempfile.TemporaryDirectory() as place:
        found = try_it(Path(place), given.requests, given.processes, given.kills)
        print(json.dumps(found | {"list": list_seconds(Path(place))}, indent=1))


if __name__ == "__main__":
    main()
