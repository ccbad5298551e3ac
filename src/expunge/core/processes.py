"""The processes that work on one run together, started by `torchrun` or `accelerate launch`: one, without a launcher.

All run the same program on the same files. Only the first one owns the run folder and does everything but training; its
decisions hold for all, so that none waits for one that has exited.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from expunge.core.wire import packed, unpacked
from expunge.errors import FollowedError, RecipeError, first_line

T = TypeVar("T")

PATIENCE = timedelta(days=30)
"how long processes wait for one that measures or samples; one that ends is noticed at once, by its connection"
_ALONE = ContextVar("expunge_alone", default=False)
_APART = ContextVar("expunge_apart", default=False)


def launched() -> int:
    """Number of processes that a launcher started, from its environment variables."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def refuse_launcher(what: str) -> None:
    """Raise if a launcher started several processes, before they join: one that has left would be missed.

    Args:
        what: what one process does, at the start of a sentence.

    Raises:
        RecipeError: on each of them.
    """
    if launched() > 1:
        raise RecipeError(
            f"{what} one process",
            seen=f"{launched()} processes of a launcher",
            next_step="start expunge without a launcher",
        )


def _joined() -> Any:
    """torch's `distributed`, once this process has joined others; None before. Does not load torch by itself."""
    module = sys.modules.get("torch.distributed")
    return module if module is not None and module.is_available() and module.is_initialized() else None


def count() -> int:
    """Number of processes."""
    joined = _joined()
    return 1 if joined is None else int(joined.get_world_size())


def world() -> int:
    """Number of processes that work together now; 1 inside of `alone`."""
    return 1 if _ALONE.get() else count()


def launched_to_spread() -> bool:
    """Whether `--use_fsdp` of a launcher shards weights over its processes."""
    return launched() > 1 and _asks_to_spread()


def asked_to_spread() -> bool:
    """Whether weights are to be sharded over the processes."""
    return count() > 1 and _asks_to_spread()


def _asks_to_spread() -> bool:
    return os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("true", "1")


def spread() -> bool:
    """Whether weights are sharded over the processes that work together now."""
    return world() > 1 and asked_to_spread()


def rank() -> int:
    """Rank of this process; 0 inside of `alone`."""
    return int(_joined().get_rank()) if world() > 1 else 0


def place() -> int:
    """Rank of this process among all, inside of `alone` too."""
    joined = _joined()
    return 0 if joined is None else int(joined.get_rank())


def is_first() -> bool:
    """Whether this is the process that owns the run folder."""
    joined = _joined()
    return joined is None or joined.get_rank() == 0


@cache
def _group() -> Any:
    """A process group for decisions: on the CPUs, whatever the backend for gradients."""
    return _joined().new_group(backend="gloo", timeout=PATIENCE)


@contextmanager
def apart() -> Iterator[None]:
    """Context in which the first process does its part of a job, and asks for no help: the others do theirs."""
    token = _APART.set(True)
    try:
        yield
    finally:
        _APART.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """Context in which this process works by itself and does not wait for the others."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def agreed(value: T) -> T:
    """The first process's value, on all of them: clocks and files may differ. A JSON value or None."""
    return value if world() == 1 else _sent(value, 0)


def gathered(value: T) -> list[T]:
    """What each process says, in their order, on all of them. JSON values, in which arrays may stand."""
    return [value] if world() == 1 else [_sent(value, sender) for sender in range(world())]


CALLS: dict[str, Callable[[], None]] = {}
"jobs that the other processes join when the first one calls them by name"
_CALLED: list[Callable[[], None]] = []
"ends such a job"


def call(name: str, leave: Callable[[], None]) -> None:
    """Call the others, which wait for the first process, to a job in `CALLS`; `leave` ends it."""
    _sent({"call": name}, 0)
    _CALLED.append(leave)


def largest(value: int) -> int:
    """The largest of all processes' values; each has to call this, inside of `alone` too."""
    torch = sys.modules["torch"]
    said = torch.tensor([value])
    with followed():
        _joined().all_reduce(said, op=torch.distributed.ReduceOp.MAX, group=_group())
    return int(said)


def _sent(value: Any, sender: int) -> Any:
    """One process's value, on all of them; each has to call this."""
    while _CALLED:
        _CALLED.pop()()
    torch, joined = sys.modules["torch"], _joined()
    own = joined.get_rank() == sender
    data = bytearray(packed(value) if own else b"")  # torch would send objects as pickle
    with followed():
        size = torch.tensor([len(data)])
        joined.broadcast(size, sender, group=_group())
        sent = torch.frombuffer(data, dtype=torch.uint8) if own else torch.empty(int(size), dtype=torch.uint8)
        joined.broadcast(sent, sender, group=_group())
    return value if own else unpacked(memoryview(sent.numpy()))


def summed(values: Sequence[float]) -> list[float]:
    """The sums of every process's figures, on all of them."""
    if world() == 1:
        return list(values)
    total = sys.modules["torch"].tensor(values, dtype=sys.modules["torch"].float64)
    with followed():
        _joined().all_reduce(total, group=_group())
    found: list[float] = total.tolist()
    return found


def first_alone(work: Callable[[], T], others: Callable[[], T] | None = None) -> T | None:
    """Have the first process do something by itself. The others wait for it, and help if it calls them (`helped`).

    Args:
        others: what they do afterwards, such as reading its results.

    Returns:
        What `work`, or `others`, returned.

    Raises:
        FollowedError: on the others, if it failed.
    """
    if world() == 1:
        return work()
    if is_first():
        done = False
        try:
            with alone():
                found = work()
            done = True
        finally:
            _sent({"done": done}, 0)
        return found
    said: dict[str, Any] = {}
    while "done" not in said:
        said = _sent(None, 0)
        with alone():
            if "call" in said:
                CALLS[said["call"]]()
            elif "job" in said:
                said = _part(said) or {}
    for end in ENDS:
        end()
    if not said["done"]:
        raise FollowedError("the first process stopped: it gives the reason")
    with alone():
        return None if others is None else others()


JOBS: dict[str, Callable[[Any, Sequence[int]], list[Any]]] = {}
"jobs in which others can help the first process: given (arguments, numbers of the pieces), return the pieces"
ENDS: list[Callable[[], None]] = []
"called on the others when the first process needs no more help"


def has_helpers() -> bool:
    """Whether the others wait for this one inside of `first_alone`, and can help it."""
    return count() > 1 and is_first() and _ALONE.get() and not _APART.get()


def helped(job: str, about: Any, pieces: int, own: Callable[[Sequence[int]], list[Any]]) -> list[Any]:
    """The pieces of a job, done by all processes: called by the first one if it `has_helpers`.

    Args:
        job: a name in `JOBS`, known to the others.
        about: its arguments: JSON, which may contain arrays, as may the pieces.
        own: does the pieces with these numbers.

    Raises:
        FollowedError: another process could not do its part.
    """
    if not has_helpers():
        return own(range(pieces))
    _sent({"job": job, "about": about, "pieces": pieces}, 0)
    part: dict[str, Any]
    wrong: Exception | None = None
    try:
        part = {"made": own(range(0, pieces, count()))}
    except Exception as error:  # the others need a reply, as it may not be the end of the run
        part, wrong = {"failed": first_line(error)}, error
    found: list[Any] = [None] * pieces
    failed = []
    for sender in range(count()):
        heard = _sent(part, sender)
        if "made" in heard:
            found[sender :: count()] = heard["made"]
        else:
            failed.append(heard["failed"])
    if wrong is not None:
        raise wrong
    if failed:
        raise FollowedError("another process could not do its part", seen="; ".join(failed))
    return found


def _part(said: dict[str, Any]) -> dict[str, Any] | None:
    """Do this process's part of a job; if it failed, the error for the first one."""
    own = range(_joined().get_rank(), said["pieces"], count())
    part: dict[str, Any]
    try:
        part = {"made": JOBS[said["job"]](said["about"], own)}
    except Exception as error:
        part = {"failed": f"process {_joined().get_rank()}: {type(error).__name__}: {first_line(error)}"}
    for sender in range(count()):
        heard = _sent(part, sender)
        if "done" in heard:
            return dict(heard)
    return None


@contextmanager
def followed() -> Iterator[None]:
    """A lost connection, as another process ended: that one gives the reason."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, sys.modules["torch"].distributed.DistError) or any(
            word in str(error).lower() for word in ("connection", "gloo", "nccl", "peer", "process group")
        )
        if not lost:
            raise
        raise FollowedError(
            f"process {_joined().get_rank()} stopped, since another one ended",
            seen=first_line(error),
            next_step="see that one's message; the same command resumes",
        ) from error
