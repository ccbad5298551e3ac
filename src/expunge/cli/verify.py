"""`expunge verify`."""

from __future__ import annotations

from pathlib import Path

WORDS = {True: "ok", False: "FAILED", None: "not checked"}


def verify(run: Path, /, *, json: bool = False, quiet: bool = False) -> int:
    """Check that a run folder is what its record says: model, files, sets, verdict, report. Exit code 1 where it is not.

    What cannot be checked is printed, too, and does not change the exit code.

    For example:

        expunge verify runs/hp

    Parameters
    ----------
    run:
        A run folder.
    json:
        Print JSON: what was checked, and whether it is right (null: it was not checked).
    quiet:
        Print what is wrong, and nothing else.
    """
    from expunge.cli.printed import print_json
    from expunge.report.verify import verify_run
    from expunge.runs.folder import RunFolder

    findings = verify_run(RunFolder(run).require())
    if json:
        print_json([{"what": finding.what, "ok": finding.ok} for finding in findings])
    for finding in () if json else [each for each in findings if each.ok is False or not quiet]:
        print(f"{WORDS[finding.ok]:<11}  {finding.what}")
    return 1 if any(finding.ok is False for finding in findings) else 0
