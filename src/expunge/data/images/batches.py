"""The order of pictures: a pure function of its arguments, so that a resumed run sees what an uninterrupted one saw."""

from __future__ import annotations

import numpy as np

from expunge.core.order import random_seed


def order(n: int, size: int, *, seed: int, stream: str, epoch: int) -> list[np.ndarray]:
    """Rows 0 to n - 1, shuffled and cut into batches of `size`; the last may be smaller.

    Streams and epochs are independent of each other.
    """
    if n < 1 or size < 1:
        raise ValueError(f"the stream {stream} has {n} pictures in batches of {size}")
    shuffled = np.random.default_rng(random_seed(seed, stream, epoch)).permutation(n)
    return [shuffled[start : start + size] for start in range(0, n, size)]
