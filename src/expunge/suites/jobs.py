"""Many independent computations: in processes of this machine, or on a Ray cluster. The results are the same bits.

Every job runs on one thread of a process that ran nothing else but jobs, and depends on its arguments alone.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import Any, TypeVar

from expunge.errors import RunError

J = TypeVar("J")
R = TypeVar("R")


def run_jobs(
    function: Callable[[J], R], jobs: Sequence[J], *, workers: int | None = None, ray: bool | str = False
) -> Iterator[tuple[J, R]]:
    """(job, result) of every job, as they are finished.

    Args:
        function: at the top level of a module; it and the jobs are sent to other processes.
        workers: processes; as many as there are processor cores where absent.
        ray: use Ray: True for the cluster that `RAY_ADDRESS` names, or a local one; or a cluster's address.

    Raises:
        RunError: Ray is wanted and not installed, or a process was killed (for want of memory, say).
    """
    if not jobs:
        return
    if ray:
        yield from _on_ray(function, jobs, ray if isinstance(ray, str) else None)
        return
    count = min(workers or os.cpu_count() or 1, len(jobs))
    # Spawned, not forked: a fork copies threads' locks, and what torch set up.
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
        pending: dict[Future[R], J] = {}
        rest = iter(jobs)
        try:
            for job in rest:
                pending[pool.submit(function, job)] = job
                if len(pending) < 2 * count:
                    continue
                yield from _finished(pending)
            while pending:
                yield from _finished(pending)
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _finished(pending: dict[Future[R], J]) -> Iterator[tuple[J, R]]:
    done, _ = wait(pending, return_when=FIRST_COMPLETED)
    for future in done:
        job = pending.pop(future)
        try:
            yield job, future.result()
        except (BrokenPipeError, EOFError) as error:
            raise RunError(
                "a worker process died", seen=repr(error), next_step="run the command again with fewer --workers"
            ) from error
        except RuntimeError as error:
            if type(error).__name__ == "BrokenProcessPool":
                raise RunError(
                    "a worker process was killed, perhaps for want of memory",
                    next_step="run the command again: what is finished stays; give fewer --workers",
                ) from error
            raise


def one_thread() -> None:
    """Sums depend on how many threads make them: one gives the same bits on every machine with this processor."""
    import torch

    torch.set_num_threads(1)


def _on_ray(function: Callable[[J], R], jobs: Sequence[J], address: str | None) -> Iterator[tuple[J, R]]:
    try:
        import ray
    except ImportError as error:
        raise RunError("Ray is not installed", next_step="pip install 'expunge[ray]', or leave --ray out") from error
    started = not ray.is_initialized()
    if started:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, configure_logging=False)

    def alone(job: Any) -> Any:
        one_thread()
        return function(job)

    remote = ray.remote(num_cpus=1)(alone)
    try:
        pending = {remote.remote(job): job for job in jobs}
        while pending:
            done, _ = ray.wait(list(pending), num_returns=1)
            for reference in done:
                yield pending.pop(reference), ray.get(reference)
    finally:
        if started:
            ray.shutdown()
