"""`expunge verify`."""

from __future__ import annotations

from pathlib import Path


def verify(run: Path, /) -> int:
    """Check that a run folder is what its record says: digests, scores and verdict. Exit code 1 where it is not.

    For example:

        expunge verify runs/hp

    Parameters
    ----------
    run:
        A run folder.
    """
    from expunge.evidence.verify import verify_run
    from expunge.run_folder import RunFolder

    findings = verify_run(RunFolder(run).require())
    for finding in findings:
        print(f"{'ok    ' if finding.ok else 'FAILED'}  {finding.what}")
    return 0 if all(finding.ok for finding in findings) else 1
