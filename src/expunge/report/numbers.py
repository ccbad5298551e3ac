"""Numbers as people read them: the minus sign, thousands, units, and no more digits than are meaningful."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

UNKNOWN = "not measured"


def plain(value: float | None) -> str:
    """A number with three or so meaningful digits: 0.007, 14.2, 1,234."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    size = abs(value)
    digits = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    if size >= 1e7:
        return _minus(f"{value:.2e}")
    return fixed(value, digits)


def fixed(value: float, digits: int) -> str:
    """A number with `digits` digits after the point, thousands separators, and a true minus sign (but never −0)."""
    return _minus(f"{value:,.{digits}f}")


def share(value: float | None, digits: int = 1) -> str:
    """A share as a percentage: 0.4312 becomes 43.1 %."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    number = _minus(f"{100 * value:.2e}") if abs(value) >= 1e5 else fixed(100 * value, digits)
    return number + "\u00a0%"


def points(value: float) -> str:
    """A difference of shares in percentage points: 0.012 becomes 1.2 points."""
    return fixed(100 * value, 1) + "\u00a0points"


def signed(text: str) -> str:
    """A formatted number with its sign always shown; zero goes without."""
    if text.startswith("−") or not any(character in "123456789" for character in text):
        return text
    return "+" + text


def value(number: float, percent: bool) -> str:
    return share(number) if percent else plain(number)


def interval(low: float, high: float, percent: bool) -> str:
    """`[low, high]`, in the unit of `value` but without repeating it; empty if there is no interval."""
    if low == high:
        return ""
    if percent:
        return f"[{fixed(100 * low, 1)}, {fixed(100 * high, 1)}]"
    return f"[{plain(low)}, {plain(high)}]"


def count(number: float) -> str:
    return f"{number:,.0f}"


def seconds(number: float | None) -> str:
    """A duration: 0.4 s, 38 s, 2 min 05 s, 1 h 12 min."""
    if number is None:
        return UNKNOWN
    if number < 10:
        return f"{number:.1f}\u00a0s"
    whole = round(number)
    if whole < 60:
        return f"{whole}\u00a0s"
    if whole < 3600:
        return f"{whole // 60}\u00a0min {whole % 60:02d}\u00a0s"
    minutes = round(number / 60)
    return f"{minutes // 60:,}\u00a0h {minutes % 60:02d}\u00a0min"


def peaks(cost: Mapping[str, Any]) -> str:
    """The peak of main memory, and of a GPU's if one was used."""
    main, device = bytes_(cost.get("peak_memory_bytes")), cost.get("device_peak_bytes")
    return main if device is None else f"{main}, and {bytes_(device)} of the GPU"


def bytes_(number: float | None) -> str:
    """A size: 4 KiB, 812 MiB, 3.41 GiB."""
    if number is None:
        return UNKNOWN
    if number >= 1 << 30:
        return f"{number / (1 << 30):.2f}\u00a0GiB"
    if number < 1 << 20:
        return f"{-(-number // (1 << 10)):.0f}\u00a0KiB"
    return f"{number / (1 << 20):.0f}\u00a0MiB"


def _minus(text: str) -> str:
    if text.startswith("-"):
        return "−" + text[1:] if any(character in "123456789" for character in text) else text[1:]
    return text
