"""`expunge sign`."""

from __future__ import annotations

from pathlib import Path

from expunge.core.printed import Quiet


def sign(
    run: Path | None = None, /, *, key: Path | None = None, new_key: Path | None = None, quiet: Quiet = False
) -> int:
    """Sign what a run did and its results, so that others can check it offline (docs/evidence.md).

    For example:

        expunge sign --new-key keys/officer

        expunge sign runs/hp --key keys/officer

        expunge verify runs/hp --key keys/officer.pub

    Writes `evidence/` into the run folder: an in-toto statement in a DSSE envelope, and a CycloneDX bill of materials.
    A run that `expunge verify` finds changed is not signed.

    Parameters
    ----------
    run:
        A run folder.
    key:
        The private key, Ed25519, PEM.
    new_key:
        Make a key pair instead: the private key in this file, the public one in FILE.pub.
    """
    from expunge.errors import RecipeError, RunError

    if new_key is not None and run is None and key is None:
        from expunge.evidence.envelope import new_key as make

        public = make(new_key)
        if not quiet:
            print(f"Private key: {new_key}\nPublic key:  {public}")
        return 0
    if run is None or key is None or new_key is not None:
        raise RecipeError("nothing to sign", allowed="RUN with --key FILE; or --new-key FILE alone")
    from expunge.evidence.signed import sign_run
    from expunge.report.verify import verify_run
    from expunge.runs.folder import RunFolder

    folder = RunFolder(run).require()
    if failed := [finding.what for finding in verify_run(folder) if finding.ok is False]:
        raise RunError(
            f"{run} does not match its record, and is not signed",
            seen="; ".join(failed[:3]),
            next_step=f"expunge verify {run}",
        )
    written = sign_run(folder, key)
    if not quiet:
        print(written)
    return 0
