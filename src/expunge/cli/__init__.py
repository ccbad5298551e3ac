"""The command line. Verbs have a file each and import heavy modules only when they run."""

from __future__ import annotations

import logging
import os
import signal
import sys
from types import FrameType

from cyclopts import App

from expunge import __version__
from expunge.cli.audit import audit
from expunge.cli.clean import clean
from expunge.cli.compare import compare
from expunge.cli.doctor import doctor
from expunge.cli.evaluate import evaluate
from expunge.cli.forget import forget
from expunge.cli.init import init
from expunge.cli.inspect import inspect
from expunge.cli.methods import methods
from expunge.cli.plan import plan
from expunge.cli.publish import publish
from expunge.cli.recipes import recipes
from expunge.cli.report import report
from expunge.cli.request import request
from expunge.cli.run import run
from expunge.cli.serve import serve_app
from expunge.cli.sign import sign
from expunge.cli.sweep import sweep
from expunge.cli.teach import teach
from expunge.cli.verify import verify
from expunge.core.interruption import leave_now
from expunge.core.threads import wait_briefly
from expunge.errors import Explained

app = App(
    name="expunge",
    help="Make a trained model forget, and measure how well it forgot.\n\n"
    'Start with: expunge forget "Harry Potter" --out runs/hp',
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
VERBS = (
    *(init, forget, inspect, run, sweep, plan, teach, evaluate, audit, compare, report, verify, sign, request, clean),
    *(publish, methods, recipes, doctor),
)
USAGE = {"init": "[OUT]", "compare": "RUNS...", "sign": "[RUN]", "methods": "[NAME]", "app": "[RUNS]"}
"usage lines of verbs with optional arguments, for which the library only shows `[ARGS]`"


def usage(name: str) -> str | None:
    return f"Usage: expunge {name} [OPTIONS] {USAGE[name]}" if name in USAGE else None


for verb in VERBS:
    if isinstance(verb, App):
        app.command(verb)
    else:
        app.command(verb, usage=usage(verb.__name__))
app.command(serve_app, name="app", usage=usage("app"))
# Suites are searched in all installed packages: only when one is called.
app.command(
    "expunge.cli.suite:suite",
    name="suite",
    help="Run a benchmark suite; `expunge suite NAME --help` lists its options.",
)
app.register_install_completion_command(add_to_startup=False)


def _leave(number: int, frame: FrameType | None) -> None:
    """End at once, outside of a run, which handles this itself. An exception could be caught by a library that is just
    being imported, or printed with all its lines; files are whole at any time."""
    leave_now("expunge: interrupted\n")


def main() -> None:
    """Entry point: one clear message for every expected error, and its exit code.

    docs/exit_codes.md lists the numbers.
    """
    wait_briefly()  # before a verb imports torch
    # bitsandbytes says at every start where a faster product of 4-bit weights is not installed.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        code = app()
    except BrokenPipeError:  # the reader of the output, such as `head`, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except (
        Explained,
        OSError,
    ) as error:  # OSError: no permission to list a folder, for example, which can occur nearly anywhere
        from expunge.core.safe_text import clean
        from expunge.core.storage import unreadable

        shown = error if isinstance(error, Explained) else unreadable(error)
        print(f"expunge: {clean(str(shown))}", file=sys.stderr)
        sys.exit(shown.exit_code)
    sys.exit(code if isinstance(code, int) else 0)
