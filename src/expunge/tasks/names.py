"""What the name of a weight says."""

from __future__ import annotations

import re


def layer_of(name: str) -> int | None:
    """The layer that a weight belongs to, from 0; None for embeddings, the head and what stands between."""
    found = re.search(r"\.(\d+)\.", name)
    return None if found is None else int(found[1])


def is_named(name: str, pattern: str) -> bool:
    """Whether a regular expression is found in a weight's name."""
    return re.search(pattern, name) is not None
