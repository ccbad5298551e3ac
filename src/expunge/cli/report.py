"""`expunge report`."""

from __future__ import annotations

from pathlib import Path


def report(run: Path, /) -> None:
    """Write report.html of a run folder anew, from the files in it.

    For example:

        expunge report runs/hp

    Parameters
    ----------
    run:
        A run folder.
    """
    from expunge.report.render import render_report
    from expunge.run_folder import RunFolder

    print(render_report(RunFolder(run).require()))
