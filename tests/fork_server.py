"""A server that forks a process for every command: what a run needs is imported once.

It is itself forked from the process of the tests, which has imported most of that to collect them. It has to be so before
the first test runs: autograd has no threads then, which no fork could take along. It reads requests, a JSON object a line,
and answers in the same way; `Commands` is the other end. A command, or a script, runs in a process of its own, which can be
limited, stopped and killed like any other; only the seconds that importing and drawing take are saved.
"""

from __future__ import annotations

import gc
import importlib
import json
import logging
import os
import pkgutil
import resource
import runpy
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended. `code` is negative for a signal; `after_signal` the CPU seconds it took to leave, if asked."""

    code: int
    out: str
    err: str
    cpu: float
    after_signal: float | None


@dataclass(frozen=True, slots=True)
class Whole:
    """An uninterrupted run: what it left, and the seconds of CPU that it took."""

    results: dict[str, str]
    cpu: float


class Running:
    """A command under way."""

    def __init__(self, commands: Commands, pid: int) -> None:
        self.commands, self.pid = commands, pid
        self._process = psutil.Process(pid)

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def reaches(self, cpu: float) -> bool:
        """Wait until it has used so many seconds of CPU; False where it ended before. Other load changes nothing."""
        while True:
            if self._process.status() == psutil.STATUS_ZOMBIE:
                return False
            used = self._process.cpu_times()
            left = cpu - used.user - used.system
            if left <= 0:
                return True
            time.sleep(max(0.004, left / 2))  # it has one thread that works

    def wait_until_stopped(self) -> None:
        while self._process.status() != psutil.STATUS_STOPPED:
            assert self._process.status() != psutil.STATUS_ZOMBIE, self.wait()
            time.sleep(0.01)

    def wait(self) -> Ended:
        return Ended(**self.commands.ask({"wait": self.pid}))


class Commands:
    """Starts `expunge` commands, and scripts."""

    def __init__(self) -> None:
        _prepare()
        (requests, self._requests), (self._answers, answers) = (os.pipe(), os.pipe())
        self._server = os.fork()
        if self._server == 0:
            try:
                os.close(self._requests)
                os.close(self._answers)
                serve(requests, answers)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(requests)
        os.close(answers)
        self._read = os.fdopen(self._answers, encoding="utf-8")

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        os.write(self._requests, f"{json.dumps(request)}\n".encode())
        return cast(dict[str, Any], json.loads(self._read.readline()))

    def start(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        on_call: tuple[str, int, signal.Signals] | None = None,
        file_limit: int | None = None,
        script: Path | None = None,
        env: Mapping[str, str] | None = None,
        packages: Path | None = None,
    ) -> Running:
        """Start `expunge WORDS` in a folder.

        Args:
            on_call: (`module:name`, n, signal): the process sends itself that signal as the n-th call of that begins.
            file_limit: bytes that a file may have (RLIMIT_FSIZE).
            script: start `python SCRIPT WORDS` instead.
            env: further variables of its environment.
            packages: a folder of installed packages that it sees too.
        """
        request = {"words": list(map(str, words)), "folder": str(folder), "on_call": on_call, "file_limit": file_limit}
        more = {"script": script and str(script), "env": dict(env or {}), "packages": packages and str(packages)}
        return Running(self, self.ask(request | more)["pid"])

    def run(self, words: Sequence[object], folder: Path, **how: Any) -> Ended:
        return self.start(words, folder, **how).wait()

    def together(
        self,
        processes: int,
        words: Sequence[object],
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        **how: Any,
    ) -> list[Ended]:
        """Run it in several processes that find each other as those of `torchrun` do."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        env = {**(env or {}), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
        ranks = (dict.fromkeys(("RANK", "LOCAL_RANK"), str(number)) for number in range(processes))
        running = [self.start(words, folder, env=env | rank, **how) for rank in ranks]
        return [each.wait() for each in running]

    def end(self) -> None:
        os.close(self._requests)
        os.waitpid(self._server, 0)
        self._read.close()


def _signal_on_call(target: str, number: int, signal_number: int, report: int) -> None:
    module, _, name = target.partition(":")
    holder: Any = importlib.import_module(module)
    *parents, last = name.split(".")
    for parent in parents:
        holder = getattr(holder, parent)
    kept = holder.__dict__[last]
    function = kept.__func__ if isinstance(kept, classmethod) else kept
    calls = 0

    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            os.write(report, f"{time.process_time()}\n".encode())
            os.kill(os.getpid(), signal_number)
        return function(*args, **kwargs)

    setattr(holder, last, classmethod(counting) if isinstance(kept, classmethod) else counting)


def _look_for_packages_again() -> None:
    """What was found of installed packages is kept in caches."""
    for name in [name for name in sys.modules if name.startswith("expunge.runs.")]:
        for found in vars(sys.modules[name]).values():
            if hasattr(found, "cache_clear"):
                found.cache_clear()
    if "expunge.cli.suite" in sys.modules:  # its verbs are those of the packages that were there when it was imported
        from expunge.runs.suite import suites

        verbs = sys.modules["expunge.cli.suite"].suite
        for name, each in suites().items():
            if name not in list(verbs):
                verbs.command(each.function(), name=name)


def _become(request: Mapping[str, Any], pipes: Sequence[int]) -> int:
    """In the forked process: run the command; its exit code."""
    os.dup2(pipes[0], 1)
    os.dup2(pipes[1], 2)
    os.chdir(request["folder"])
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    os.environ.update(request["env"])
    if request["packages"] is not None:
        sys.path.insert(0, request["packages"])
        _look_for_packages_again()
    script = request["script"]
    sys.argv = [script or "expunge", *request["words"]]
    try:
        if request["on_call"] is not None:
            target, number, signal_number = request["on_call"]
            _signal_on_call(target, number, signal_number, pipes[2])
        if script is not None:
            sys.path.insert(0, str(Path(script).parent))
            runpy.run_path(script, run_name="__main__")
        else:
            from expunge.cli import main

            main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _read_all(pipes: Sequence[int]) -> list[str]:
    """Everything that is written to the pipes until all their other ends are closed."""
    read: dict[int, bytes] = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for pipe in pipes:
            selector.register(pipe, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                chunk = os.read(key.fd, 1 << 16)
                read[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return [read[pipe].decode("utf-8", "replace") for pipe in pipes]


def _leave_the_tests() -> None:
    """What pytest and its worker processes set up is no part of a command's process."""
    for name in [name for name in os.environ if name.startswith("PYTEST_")]:
        del os.environ[name]
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
    sys.unraisablehook, threading.excepthook = sys.__unraisablehook__, threading.__excepthook__
    for name in [None, *logging.root.manager.loggerDict]:
        for handler in logging.getLogger(name).handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(sys.stderr)


def _prepare() -> None:
    """Import and read, once, what commands need, and the tests themselves."""
    import torch

    # bitsandbytes would load the whole compiler for decorators of functions that no command here calls.
    compiler, torch.compile = torch.compile, lambda function, **how: function
    importlib.import_module("bitsandbytes")
    torch.compile = compiler
    for module in (
        "api",
        "cli.console",
        "kinds.classifier.story",
        "kinds.generator.story",
        "kinds.language.audited_recipe",
        "kinds.language.report.sections",
        "kinds.language.story",
        "kinds.sharded_classifier.kind",
        "report.verify",
        "spine",
        "suites.taught_book",
    ):
        importlib.import_module(f"expunge.{module}")
    for folder in ("methods", "kinds.language.signals"):
        package = importlib.import_module(f"expunge.{folder}")
        for found in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"expunge.{folder}.{found.name}")
    models = ("llama.modeling_llama", "resnet.modeling_resnet", "vit_mae.modeling_vit_mae")
    others = ("peft", "rich.progress", "rich.table", "nltk.stem.porter", "sklearn.linear_model", "sklearn.pipeline")
    for module in (*others, *(f"transformers.models.{name}" for name in models)):
        importlib.import_module(module)
    from expunge.data.text.language import language_of
    from expunge.kinds.language.terms.finder import build_dictionary
    from expunge.report.page import TEMPLATES, _environment
    from expunge.runs.registry import working_on
    from expunge.runs.versions import versions

    # What a process reads once is read here: word lists, the detector of languages, pages, methods, versions.
    build_dictionary([("It was Mr. Holmes who had seen Mr. Holmes.", None)], 10, 0)
    assert language_of(["Der Wind ging kalt durch die Stadt, und niemand hatte ihn je zuvor gesehen."]).code == "de"
    for template in TEMPLATES.glob("*.jinja"):
        _environment().get_template(template.name)
    working_on()
    versions()
    gc.freeze()


def _spare_work() -> None:
    """As the tests do in their own process."""
    from cheap_figures import frame
    from expunge.kinds.language.elicitation import asking
    from expunge.kinds.language.measures import general_knowledge
    from expunge.report import svg

    svg.as_svg = frame
    few = general_knowledge.facts()[:6]
    general_knowledge.facts = lambda: few
    asking.ANSWER_TOKENS = 40  # a model with random weights babbles to the last; of fewer nothing is left that is said


def serve(requests: int, replies: int) -> None:
    """Answer requests until there is no one to make one."""
    _leave_the_tests()
    _spare_work()
    answers = os.fdopen(replies, "w", encoding="utf-8")
    running: dict[int, list[int]] = {}
    for line in os.fdopen(requests, encoding="utf-8"):
        request = json.loads(line)
        if "wait" in request:
            pid = request["wait"]
            out, err, signalled = _read_all(running.pop(pid))
            _, status, usage = os.wait4(pid, 0)
            cpu = usage.ru_utime + usage.ru_stime
            answer = {
                "code": os.waitstatus_to_exitcode(status),
                "out": out,
                "err": err,
                "cpu": cpu,
                "after_signal": cpu - float(signalled) if signalled else None,
            }
        else:
            ends = [os.pipe() for _ in range(3)]
            pid = os.fork()
            if pid == 0:
                os._exit(_become(request, [write for _, write in ends]))
            for _, write in ends:
                os.close(write)
            running[pid] = [read for read, _ in ends]
            answer = {"pid": pid}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
