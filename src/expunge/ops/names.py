"""Parse names of weights."""

from __future__ import annotations

import re


def layer_of(name: str) -> int | None:
    """The first number in a weight's name: its layer, of models that hold text alone; None if there is none.

    Given a model, its task's `layer_of` knows which layers are those of the text.
    """
    found = re.search(r"\.(\d+)\.", name)
    return None if found is None else int(found[1])


def is_named(name: str, pattern: str) -> bool:
    """Whether a regular expression is found in a weight's name."""
    return re.search(pattern, name) is not None
