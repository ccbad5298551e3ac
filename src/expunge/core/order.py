"""The order of data: a pure function of (seed, stream, step), so that a resumed run sees what an uninterrupted one saw."""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache

import numpy as np

BUCKET = 32
"batches whose blocks are sorted by length together"


def random_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed that depends on all names; equal on every machine and Python version."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


class Order:
    """Which blocks are in batch number `i` of a stream.

    Every epoch visits each block once. Blocks of like length share a batch (less padding): each epoch is shuffled,
    cut into buckets of `BUCKET` batches, sorted by length inside a bucket, and the batches shuffled again.

    Args:
        lengths: tokens in each block, (blocks,).
        batch_size: blocks in a batch; the last batch of an epoch may be smaller.
        stream: name of the stream ("forget", "retain"): streams are independent of each other.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, seed: int, stream: str) -> None:
        if len(lengths) == 0:
            raise ValueError(f"the stream {stream} has no blocks")
        self.lengths, self.batch_size, self.seed, self.stream = np.asarray(lengths), batch_size, seed, stream
        self.batches_per_epoch = math.ceil(len(self.lengths) / batch_size)
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def batch(self, number: int) -> list[int]:
        """Block indices of batch `number`, counted from 0 over all epochs."""
        epoch, index = divmod(number, self.batches_per_epoch)
        return self._epoch(epoch)[index].tolist()

    def _make_epoch(self, epoch: int) -> list[np.ndarray]:
        generator = np.random.default_rng(random_seed(self.seed, self.stream, epoch))
        shuffled = generator.permutation(len(self.lengths))
        batches: list[np.ndarray] = []
        for start in range(0, len(shuffled), BUCKET * self.batch_size):
            bucket = shuffled[start : start + BUCKET * self.batch_size]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches += [bucket[i : i + self.batch_size] for i in range(0, len(bucket), self.batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]
