"""The command line. Verbs live in a file each and import what is heavy only when they run."""

from __future__ import annotations

import signal
import sys

from cyclopts import App

from expunge import __version__
from expunge.cli.compare import compare
from expunge.cli.doctor import doctor
from expunge.cli.evaluate import evaluate
from expunge.cli.forget import forget
from expunge.cli.methods import methods
from expunge.cli.report import report
from expunge.cli.run import run
from expunge.cli.suite import suite
from expunge.cli.teach import teach
from expunge.cli.verify import verify
from expunge.errors import Explained

app = App(
    name="expunge",
    help="Make a trained model forget, and measure how well it forgot.\n\n"
    'Start with: expunge forget "Harry Potter" --out runs/hp',
    version=__version__,
    help_format="markdown",
    suppress_keyboard_interrupt=False,
)
for verb in (forget, run, teach, evaluate, compare, report, verify, suite, methods, doctor):
    app.command(verb)


def main() -> None:
    """Entry point: one clear message for every expected error, and its exit code.

    0 passed, 1 error, 2 wrong usage, 3 the verdict failed, 130 interrupted and resumable.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # outside of a run, too, it ends like SIGINT
    try:
        code = app()
    except Explained as error:
        from expunge.characters import clean

        print(f"expunge: {clean(str(error))}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("expunge: interrupted", file=sys.stderr)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
