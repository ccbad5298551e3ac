"""`expunge publish`."""

from __future__ import annotations

from pathlib import Path

from expunge.core.printed import WORDS, Printed, print_json


def publish(run: Path, repo: str, /, *, yes: bool = False, public: bool = False, printed: Printed = WORDS) -> None:
    """List the files of a run's model that would be uploaded to a hub; with --yes, upload them to a private repository.

    Weights, settings, tokenizer and model card are uploaded. Data never is: no text, picture, answer, recipe or report.

    For example:

        expunge publish runs/hp me/smollm2-without-potter

        expunge publish runs/hp me/smollm2-without-potter --yes

    Parameters
    ----------
    run:
        A run folder.
    repo:
        OWNER/NAME on the hub; created if it does not exist.
    yes:
        Upload; without it nothing is sent.
    public:
        Make a new repository public; without it, an existing one must be private.
    """
    from expunge.report.numbers import bytes_
    from expunge.runs.folder import RunFolder
    from expunge.runs.publishing import plan_publishing
    from expunge.runs.publishing import publish as publish_

    parcel = plan_publishing(RunFolder(run).require(), repo)
    address = publish_(parcel, repo, private=not public) if yes else None
    if printed.json:
        print_json({"repo": repo, "files": parcel.files, "left": list(parcel.left), "address": address})
        return
    if yes and printed.quiet:
        print(address)
        return
    for name, size in parcel.files.items():
        print(f"{'sent' if yes else 'goes':<5}  {bytes_(size):>12}  {name}")
    for name in parcel.left:
        print(f"stays                {name}: not a known file of a model")
    if printed.quiet:
        return
    print(
        f"Sent: {address}"
        if yes
        else f"Nothing was sent. Add --yes to upload to {repo}; read {parcel.folder / 'README.md'} first."
    )
