"""A figure and its interval."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A value with the limits of its 95 % interval, in the value's own unit."""

    value: float
    low: float
    high: float
