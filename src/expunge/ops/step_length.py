"""How far a model may be moved along a change of its weights before it diverges more than a limit from what it was."""

from __future__ import annotations

import math
from collections.abc import Callable

TRIES = 40
"lengths of a step that are tried at most"
NEAR, WIDEST = 0.95, 8.0
"share of the limit that is near enough to it; how much longer or shorter the next length may be (both from RepSelect's code)"


def longest(
    put: Callable[[float], None],
    divergence: Callable[[], float],
    limit: float,
    first: float,
    tried: Callable[..., None] = lambda **_: None,
    most: float = math.inf,
) -> float:
    """The longest step whose divergence is within a limit, to within 5 % of the limit; 0 if none is.

    Args:
        put: sets the model for a length.
        divergence: of the model as it is.
        first: the length that is tried first.
        tried: called with each `scale` and its `kl`.
        most: no longer step is tried.
    """
    put(0.0)
    start, low, high, scale = divergence(), 0.0, math.inf, min(first, most)
    for _ in range(TRIES):
        put(scale)
        found = divergence()
        tried(scale=scale, kl=found)
        if found <= limit:  # not where it is no number
            low = scale
            if found >= NEAR * limit or scale >= most:
                break
        else:
            high = scale
        # What the divergence grows by is taken for the square of the length. Rounding may leave it below where it started.
        more, wanted = found - start, (1 + NEAR) / 2 * limit - start
        ratio = math.sqrt(max(wanted, 0.0) / more) if 0 < more < math.inf else WIDEST if more <= 0 else 0.0
        guess = min(most, scale * min(WIDEST, max(1 / WIDEST, ratio)))
        scale = guess if low < guess < high else math.sqrt(low * high) if low else high / WIDEST
    return low
