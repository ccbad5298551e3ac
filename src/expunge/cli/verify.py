"""`expunge verify`."""

from __future__ import annotations

from pathlib import Path

WORDS = {True: "ok", False: "FAILED", None: "not checked"}


def verify(
    run: Path,
    /,
    *,
    key: Path | None = None,
    only_signature: bool = False,
    sample: int | None = None,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Check that a run folder matches its record: model, files, sets, verdict, report. Exit code 1 if it does not.

    What cannot be checked is printed, too, and does not change the exit code.

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
    json:
        Print JSON: what was checked, and whether it is right (null: not checked).
    quiet:
        Print only what is wrong.
    """
    from expunge.core.printed import print_json
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
        from expunge.core.progress import Live

        findings += measure_again(folder.path, sample, None if quiet or json else Live())
    if json:
        print_json([{"what": finding.what, "ok": finding.ok} for finding in findings])
    for finding in () if json else [each for each in findings if each.ok is False or not quiet]:
        print(f"{WORDS[finding.ok]:<11}  {finding.what}")
    return 1 if any(finding.ok is False for finding in findings) else 0
