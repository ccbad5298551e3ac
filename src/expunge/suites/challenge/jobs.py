"""Many independent computations: in processes of this machine, or on a Ray cluster. The results are the same bits.

Every job runs on one thread of a process that only runs jobs, and depends only on its arguments.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from expunge.errors import RunError

J = TypeVar("J")
R = TypeVar("R")


def run_jobs(
    function: Callable[[J], R],
    jobs: Sequence[J],
    *,
    workers: int | None = None,
    ray: bool = False,
    option: str = "--workers",
) -> Iterator[tuple[J, R]]:
    """(job, result) of every job, as they are finished.

    Args:
        function: at the top level of a module; it and the jobs are sent to other processes.
        workers: processes; default: one for each processor core.
        ray: use the Ray cluster that `RAY_ADDRESS` names, or a local one.
        option: the command's name for `workers`, for an error's next step.

    Raises:
        RunError: Ray is wanted and not installed, or a process was killed (for lack of memory, for example).
    """
    if not jobs:
        return
    if ray:
        yield from _on_ray(function, jobs, option)
        return
    count = min(workers or os.cpu_count() or 1, len(jobs))
    # Spawned, not forked: a fork copies threads' locks, and torch's state.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_work_alone) as pool:
        pending: dict[Future[R], J] = {}
        try:
            for job in jobs:
                pending[pool.submit(function, job)] = job
                if len(pending) >= 2 * count:
                    yield from _finished(pending)
            while pending:
                yield from _finished(pending)
        except BrokenProcessPool as error:
            raise _killed(option) from error
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finished(pending: dict[Future[R], J]) -> Iterator[tuple[J, R]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        yield pending.pop(future), future.result()


def _killed(option: str) -> RunError:
    return RunError(
        "a worker process was killed, perhaps for lack of memory",
        next_step=f"run the command again: finished work is kept; give fewer {option}",
    )


def _work_alone() -> None:
    """Set up a worker: one thread, ignoring Ctrl-C; it exits with its parent process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
    one_thread()


def one_thread() -> None:
    """Sums depend on how many threads make them: one gives the same bits on every machine with this processor."""
    import torch

    torch.set_num_threads(1)


def require_ray() -> None:
    """Raise `RunError` unless Ray is installed."""
    if importlib.util.find_spec("ray") is None:
        raise RunError("Ray is not installed", next_step="pip install 'expunge[ray]', or leave --ray out")


def _on_ray(function: Callable[[J], R], jobs: Sequence[J], option: str) -> Iterator[tuple[J, R]]:
    require_ray()
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)

    def alone(job: Any) -> Any:
        one_thread()
        return function(job)

    remote = ray.remote(num_cpus=1, max_retries=0)(alone)
    try:
        pending = {remote.remote(job): job for job in jobs}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                yield pending.pop(reference), ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # as it was raised, without the worker's stack
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as error:
        raise _killed(option) from error
    finally:
        if started:
            ray.shutdown()
