"""`expunge publish`."""

from __future__ import annotations

from pathlib import Path


def publish(run: Path, repo: str, /, *, yes: bool = False, public: bool = False, json: bool = False) -> None:
    """Say which files of a run's model would be uploaded to a hub; with --yes, upload them, into a private repository.

    Weights, settings, tokenizer and model card go. Data never does: no text, picture, answer, recipe or report.

    For example:

        expunge publish runs/hp me/smollm2-without-potter

        expunge publish runs/hp me/smollm2-without-potter --yes

    Parameters
    ----------
    run:
        A run folder.
    repo:
        OWNER/NAME on the hub; it is made where it does not exist.
    yes:
        Upload; without it nothing is sent.
    public:
        A repository that is made now is for everybody to see; without it, one that is there must be private.
    json:
        Print JSON in place of lines.
    """
    from expunge.core.printed import print_json
    from expunge.report.numbers import bytes_
    from expunge.runs.folder import RunFolder
    from expunge.runs.publishing import plan_publishing
    from expunge.runs.publishing import publish as publish_

    parcel = plan_publishing(RunFolder(run).require(), repo)
    address = publish_(parcel, repo, private=not public) if yes else None
    if json:
        print_json({"repo": repo, "files": parcel.files, "left": list(parcel.left), "address": address})
        return
    for name, size in parcel.files.items():
        print(f"{'sent' if yes else 'goes':<5}  {bytes_(size):>12}  {name}")
    for name in parcel.left:
        print(f"stays                {name}: no file of a model that is known")
    print(
        f"Sent: {address}"
        if yes
        else f"Nothing was sent. Type it with --yes to upload to {repo}; read {parcel.folder / 'README.md'} first."
    )
