"""`expunge clean`."""

from __future__ import annotations

from pathlib import Path

from expunge.core.printed import WORDS, Printed, print_json


def clean(run: Path, /, *, yes: bool = False, printed: Printed = WORDS) -> None:
    """List what can be deleted from a finished run's folder, and what stays; with --yes, delete it.

    Everything that `expunge verify`, `evaluate`, `audit` or `report` reads stays: model, record, scores and sets.

    For example:

        expunge clean runs/hp

        expunge clean runs/hp --yes

    Parameters
    ----------
    run:
        A run folder.
    yes:
        Delete it; without this nothing is deleted.
    """
    from expunge.report.numbers import bytes_
    from expunge.runs.cleaning import clean as clean_
    from expunge.runs.cleaning import plan_cleaning
    from expunge.runs.folder import RunFolder
    from expunge.runs.kinds import read_recipe

    folder = RunFolder(run).require()
    found = plan_cleaning(folder, read_recipe(folder.recipe))
    if yes:
        clean_(folder, found)
    if printed.json:
        named = ("goes", found.goes), ("stays", found.stays)
        rows = {
            word: [{"path": str(part.path), "bytes": part.bytes, "why": part.why} for part in parts]
            for word, parts in named
        }
        print_json({"deleted": yes, **rows})
        return
    if yes and printed.quiet:
        return
    for word, parts in (("gone" if yes else "goes", found.goes), ("stays", found.stays)):
        for part in parts:
            print(f"{word:<5}  {bytes_(part.bytes):>12}  {part.path.relative_to(folder.path)}: {part.why}")
    if printed.quiet:
        return
    total = bytes_(sum(part.bytes for part in found.goes))
    if not found.goes:
        print("Nothing can be deleted.")
    elif yes:
        print(f"{total} are free.")
    else:
        print(f"{total} can be deleted; nothing was deleted. Add --yes to delete it.")
