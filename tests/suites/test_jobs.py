"""Independent computations in other processes and on Ray: the same results, and clear words where a worker is lost."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from expunge.errors import RecipeError, RunError
from expunge.runs.registry import method_class
from expunge.suites.challenge import jobs
from expunge.suites.challenge.jobs import run_jobs

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")


class LostError(Exception):
    """A worker that is gone."""


class FailedError(Exception):
    """What a job raised, as Ray hands it on."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class PretendedRay(ModuleType):
    """As much of Ray's interface as is used, in this process: what Ray itself does with it is tested by the long tests.

    Args:
        there: a cluster was there before.
    """

    exceptions = SimpleNamespace(RayTaskError=FailedError, WorkerCrashedError=LostError, OutOfMemoryError=LostError)

    def __init__(self, there: bool) -> None:
        super().__init__("ray")
        self.there, self.ended = there, 0

    def is_initialized(self) -> bool:
        return self.there

    def init(self, **how: Any) -> None:
        assert not self.there
        self.there = True

    def shutdown(self) -> None:
        self.there, self.ended = False, self.ended + 1

    def remote(self, **how: Any) -> Callable[[Callable[[Any], Any]], Any]:
        assert how == {"num_cpus": 1, "max_retries": 0}
        return lambda function: SimpleNamespace(remote=lambda job: (function, job))

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return references[-num_returns:], references[:-num_returns]  # the last one is done first

    def get(self, reference: Any) -> Any:
        function, job = reference
        try:
            return function(job)
        except LostError:
            raise
        except Exception as error:
            raise FailedError(error) from None


def lose(job: int) -> None:
    raise LostError


@pytest.mark.parametrize("there", [False, True])
def test_what_ray_is_asked_for(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = PretendedRay(there)
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.setattr(jobs, "require_ray", lambda: None)
    monkeypatch.setattr(jobs, "one_thread", lambda: None)
    assert list(run_jobs(math.factorial, [3, 1, 7], ray=True)) == [(7, 5040), (1, 1), (3, 6)]
    assert (ray.there, ray.ended) == (there, int(not there)), "a cluster that was there before stays"
    with pytest.raises(ValueError, match="not defined for negative values") as raised:
        list(run_jobs(math.factorial, [-1], ray=True))
    assert raised.value.__suppress_context__, "without the worker's stack"
    with pytest.raises(RunError, match="a worker process was killed"):
        list(run_jobs(lose, [9], ray=True))
    assert ray.there == there


def test_every_job_is_done_once_whatever_the_order_and_an_error_comes_out_as_it_was_raised() -> None:
    """At most two are under way at a time: where the last one fails, all but the one before it must be there."""
    found: list[tuple[int, int]] = []
    with pytest.raises(ValueError, match="not defined for negative values"):
        found.extend(run_jobs(math.factorial, [3, 1, 7, 5, 2, -1], workers=1))
    assert len(dict(found)) == len(found)
    assert {**dict(found), 2: 2} == {3: 6, 1: 1, 7: 5040, 5: 120, 2: 2}
    assert list(run_jobs(math.factorial, [], workers=1)) == []


def test_a_worker_that_is_killed_is_told() -> None:
    with pytest.raises(RunError, match="a worker process was killed, perhaps for lack of memory") as caught:
        list(run_jobs(os._exit, [9], workers=1))
    assert caught.value.next_step == "run the command again: finished work is kept; give fewer --workers"


def test_workers_end_with_a_parent_that_is_killed() -> None:
    code = (
        "import time\nfrom expunge.suites.challenge.jobs import run_jobs\n"
        "if __name__ == '__main__':\n    list(run_jobs(time.sleep, [600, 600], workers=1))"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    started = time.monotonic()
    process = psutil.Process(parent.pid)
    children: list[psutil.Process] = []
    while not children and time.monotonic() - started < 200:
        children = [each for each in process.children() if "spawn_main" in " ".join(each.cmdline())]
        time.sleep(0.05)
    while not any(thread.id != children[0].pid for thread in children[0].threads()):  # the one that watches
        time.sleep(0.05)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    psutil.wait_procs(children, timeout=200)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in children)


def test_ray_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RunError, match="Ray is not installed") as caught:
        list(run_jobs(math.factorial, [3], ray=True))
    assert caught.value.next_step == "pip install 'expunge[ray]', or leave --ray out"


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    """A local cluster of one processor, shared by the tests."""
    import ray

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


@pytest.mark.long
@needs_ray
def test_ray_gives_the_same(ray_cluster: None) -> None:
    assert dict(run_jobs(math.factorial, [3, 1, 7], ray=True)) == {3: 6, 1: 1, 7: 5040}
    with pytest.raises(ValueError, match="not defined for negative values"):
        list(run_jobs(math.factorial, [-1], ray=True))


@pytest.mark.long
@needs_ray
def test_an_error_on_ray_says_no_more_than_it_did(ray_cluster: None) -> None:
    with pytest.raises(RecipeError) as caught:
        list(run_jobs(method_class, ["x"], ray=True))
    assert str(caught.value).startswith("there is no method 'x'")
    assert "Traceback" not in str(caught.value)


@pytest.mark.long
@needs_ray
def test_a_worker_of_ray_that_is_killed_is_told(ray_cluster: None) -> None:
    with pytest.raises(RunError, match="a worker process was killed"):
        list(run_jobs(os._exit, [9], ray=True))


@pytest.mark.long
@needs_ray
def test_a_cluster_that_was_there_before_stays(ray_cluster: None) -> None:
    import ray

    list(run_jobs(math.factorial, [3], ray=True))
    assert ray.is_initialized()
