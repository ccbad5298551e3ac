"""`expunge verify`."""

from __future__ import annotations

from pathlib import Path

from expunge.core.printed import WORDS, Printed, print_json

STATES = {True: "ok", False: "FAILED", None: "not checked"}


def verify(
    run: Path,
    /,
    *,
    key: Path | None = None,
    only_signature: bool = False,
    sample: int | None = None,
    printed: Printed = WORDS,
) -> int:
    """Check that a run folder matches its record: model, files, sets, verdict, report. Exit code 1 if it does not.

    What cannot be checked is printed, too (as JSON: null), and does not change the exit code. With --quiet only what is
    wrong is printed.

    For example:

        expunge verify runs/hp

        expunge verify runs/hp --key keys/officer.pub

        expunge verify runs/hp --sample 5

    Parameters
    ----------
    run:
        A run folder.
    key:
        A public key (PEM): check what `expunge sign` signed, too. Neither weights nor data are needed for it.
    only_signature:
        With --key: check nothing else.
    sample:
        This many of the stored scores, drawn at random, are measured again from the saved model, and must be the same
        within rounding. It takes as long as measuring them.
    """
    from expunge.report.verify import Finding, verify_run
    from expunge.runs.folder import RunFolder

    folder = RunFolder(run)
    findings = []
    if key is not None:
        from expunge.evidence.signed import signature_findings

        findings = signature_findings(folder, key)
    lacking = [path.name for path in (folder.recipe, folder.record) if not path.is_file()]
    if key is None or not (only_signature or lacking):
        findings += verify_run(folder.require())
    elif lacking and not only_signature:
        findings.append(Finding(f"the run against its record: {' and '.join(lacking)} not here", None))
    if sample is not None:
        from expunge.api import measure_again

        findings += measure_again(folder.path, sample, printed.show())
    if printed.json:
        print_json([{"what": finding.what, "ok": finding.ok} for finding in findings])
    for finding in () if printed.json else [each for each in findings if each.ok is False or not printed.quiet]:
        print(f"{STATES[finding.ok]:<11}  {finding.what}")
    return 1 if any(finding.ok is False for finding in findings) else 0
