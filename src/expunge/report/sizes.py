"""How large the sets of a run are, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from expunge.report import numbers


def sizes(sets: Mapping[str, Any], units: Sequence[str]) -> str:
    """A sentence, with a space before it, on the forget set and the retain set; nothing where no size is known.

    Args:
        units: keys of the sizes that count, which are what is counted, in the plural.
    """
    known = [f"the {name} set has {size}" for name in ("forget", "retain") if (size := _size(sets.get(name), units))]
    joined = "; ".join(known)
    return f" {joined[0].upper()}{joined[1:]}." if joined else ""


def _size(part: Mapping[str, Any] | None, units: Sequence[str]) -> str:
    known = [(unit, (part or {}).get(unit)) for unit in units]
    return ", ".join(
        f"{numbers.count(number)} {unit.removesuffix('s') if number == 1 else unit}"
        for unit, number in known
        if isinstance(number, int | float)
    )
