"""A server that imports what a run needs once, and forks a process for every command.

Run as a script it reads requests from its standard input, a JSON object a line, and answers in the same way. `Commands`
is the other end. A command, or a script, runs in a process of its own, which can be limited, stopped and killed like any
other; only the seconds that importing and drawing take are saved.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
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
            if used.user + used.system >= cpu:
                return True
            time.sleep(0.004)

    def wait_until_stopped(self) -> None:
        while self._process.status() != psutil.STATUS_STOPPED:
            assert self._process.status() != psutil.STATUS_ZOMBIE, self.wait()
            time.sleep(0.01)

    def wait(self) -> Ended:
        return Ended(**self.commands.ask({"wait": self.pid}))


class Commands:
    """Starts `expunge` commands, and scripts.

    Args:
        packages: a folder of installed packages that they see too.
    """

    def __init__(self, packages: Path | None = None) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        places = [*([] if packages is None else [str(packages)]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(places)
        self.server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return cast(dict[str, Any], json.loads(self.server.stdout.readline()))

    def start(
        self,
        words: Sequence[object],
        folder: Path,
        *,
        on_call: tuple[str, int, signal.Signals] | None = None,
        file_limit: int | None = None,
        script: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Running:
        """Start `expunge WORDS` in a folder.

        Args:
            on_call: (`module:name`, n, signal): the process sends itself that signal as the n-th call of that begins.
            file_limit: bytes that a file may have (RLIMIT_FSIZE).
            script: start `python SCRIPT WORDS` instead.
            env: further variables of its environment.
        """
        request = {"words": list(map(str, words)), "folder": str(folder), "on_call": on_call, "file_limit": file_limit}
        more = {"script": None if script is None else str(script), "env": dict(env or {})}
        return Running(self, self.ask(request | more)["pid"])

    def run(self, words: Sequence[object], folder: Path, **how: Any) -> Ended:
        return self.start(words, folder, **how).wait()

    def together(
        self, processes: int, words: Sequence[object], folder: Path, env: Mapping[str, str] | None = None, **how: Any
    ) -> list[Ended]:
        """Run it in several processes that find each other as those of `torchrun` do."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        env = {**(env or {}), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        env |= dict.fromkeys(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), str(processes))
        ranks = (dict.fromkeys(("RANK", "LOCAL_RANK"), str(number)) for number in range(processes))
        running = [self.start(words, folder, env=env | rank, **how) for rank in ranks]
        return [each.wait() for each in running]

    def __enter__(self) -> Commands:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.server.stdin is not None
        self.server.stdin.close()
        self.server.wait()


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


def _become(request: Mapping[str, Any], pipes: Sequence[int]) -> int:
    """In the forked process: run the command; its exit code."""
    os.dup2(pipes[0], 1)
    os.dup2(pipes[1], 2)
    os.chdir(request["folder"])
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], request["file_limit"]))
    os.environ.update(request["env"])
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


def serve() -> None:
    for module in (
        "spine",
        "kinds.language.story",
        "kinds.classifier.story",
        "suites.taught_book",
        "report.verify",
        "kinds.language.report.sections",
        "cli.console",
    ):
        importlib.import_module(f"expunge.{module}")
    models = ("llama.modeling_llama", "resnet.modeling_resnet")
    for module in ("peft", *(f"transformers.models.{name}" for name in models), "rich.progress", "rich.table"):
        importlib.import_module(module)
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    from cheap_figures import print_words
    from expunge.data.text.language import language_of
    from expunge.kinds.language.elicitation import asking
    from expunge.kinds.language.terms.finder import build_dictionary
    from expunge.report.page import TEMPLATES, _environment
    from expunge.runs.registry import working_on
    from expunge.runs.versions import versions

    FigureCanvasSVG.print_svg = print_words  # type: ignore[method-assign]
    asking.ANSWER_TOKENS = (
        64  # a model with random weights babbles to the last token; of fewer nothing is left that is said
    )
    # What a process reads once is read here: word lists, the detector of languages, pages, methods, versions.
    build_dictionary([("It was Mr. Holmes who had seen Mr. Holmes.", None)], 10, 0)
    assert language_of(["Der Wind ging kalt durch die Stadt, und niemand hatte ihn je zuvor gesehen."]).code == "de"
    for template in TEMPLATES.glob("*.jinja"):
        _environment().get_template(template.name)
    working_on()
    versions()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing that a library prints gets between the answers
    running: dict[int, list[int]] = {}
    for line in sys.stdin:
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


if __name__ == "__main__":
    serve()
