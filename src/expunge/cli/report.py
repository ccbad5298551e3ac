"""`expunge report`."""

from __future__ import annotations

from pathlib import Path

from expunge.core.printed import Quiet


def report(run: Path, /, *, quiet: Quiet = False) -> None:
    """Rewrite report.html of a run folder, or of a contest's or a sweep's, from the files in it.

    For example:

        expunge report runs/hp

        expunge report runs/challenge

    Parameters
    ----------
    run:
        A run folder, or the folder of a suite (`expunge suite`) or of a sweep (`expunge sweep`).
    """
    from expunge.report.render import render_report
    from expunge.runs.folder import RunFolder
    from expunge.runs.suite import suite_of
    from expunge.sweep.report import is_sweep, render_sweep

    if is_sweep(run):
        written = render_sweep(RunFolder(run).require())
    else:
        made_by, folder = suite_of(run), RunFolder(run).require()
        written = render_report(folder) if made_by is None else made_by.render_report(folder)
    if not quiet:
        print(written)
