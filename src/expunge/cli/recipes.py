"""`expunge recipes`."""

from __future__ import annotations


def recipes(*, json: bool = False) -> None:
    """List the recipes that come with expunge: `expunge run NAME` and `expunge plan NAME` take them by name.

    For example:

        expunge recipes

        expunge run demo --out runs/demo

    Parameters
    ----------
    json:
        Print JSON: name, purpose and file of each, to copy and change.
    """
    from expunge.runs.shipped import first_sentence, shipped

    found = shipped()
    if json:
        from expunge.core.printed import print_json

        print_json([{"name": name, "for": first_sentence(path), "file": str(path)} for name, path in found.items()])
        return
    width = max(map(len, found))
    for name, path in found.items():
        print(f"{name:<{width}}  {first_sentence(path)}")
