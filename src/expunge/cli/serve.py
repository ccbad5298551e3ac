"""`expunge app`."""

from __future__ import annotations

from pathlib import Path

from expunge.cli.ledger import LEDGER, Place
from expunge.core.printed import Quiet


def serve_app(
    runs: Path = Path("runs"), /, *, port: int = 0, open: bool = False, ledger: Place = LEDGER, quiet: Quiet = False
) -> int:
    """Show the runs of a folder on a web page: table, progress, reports, comparison, requests, both models, new runs.

    It answers only on this machine, and only with the printed address, which contains a token. Runs that the
    page starts are processes of their own: they continue when the app ends. Ctrl-C ends it.

    For example:

        expunge app

        expunge app runs --port 8100 --open

    Parameters
    ----------
    runs:
        The folder whose runs are shown; new ones are written there.
    port:
        Port of the loopback address; 0 takes a free one.
    open:
        Open the page in the browser. While it starts, other users of this machine may read the token in the list of
        processes.
    """
    import sys
    import webbrowser

    from expunge.app.server import serve
    from expunge.errors import RunError

    if runs.exists() and not runs.is_dir():
        raise RunError(f"{runs} is a file", allowed="a folder of runs")
    runs.mkdir(parents=True, exist_ok=True)

    def ready(address: str) -> None:
        print(
            address
            if quiet
            else f"Runs of {runs.resolve()}:\n\n    {address}\n\nCtrl-C ends the app; runs that it started continue."
        )
        sys.stdout.flush()
        if open:
            webbrowser.open(address)

    serve(runs, port, ready, ledger)
    return 0
