"""`expunge recipes`."""

from __future__ import annotations

from expunge.core.printed import WORDS, Printed, print_json


def recipes(*, printed: Printed = WORDS) -> None:
    """List the recipes that come with expunge: `expunge run NAME` and `expunge plan NAME` take them by name.

    For example:

        expunge recipes

        expunge run demo --out runs/demo

    With --json the file of each is named, too, to copy and change.
    """
    from expunge.runs.shipped import first_sentence, shipped

    found = shipped()
    if printed.json:
        print_json([{"name": name, "for": first_sentence(path), "file": str(path)} for name, path in found.items()])
        return
    width = max(map(len, found))
    for name, path in found.items():
        print(f"{name:<{width}}  {first_sentence(path)}")
