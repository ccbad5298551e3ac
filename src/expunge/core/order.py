"""The order of data: a pure function of (seed, stream, epoch), so that a resumed run sees what an uninterrupted one
saw."""

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


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Number of examples in each batch of a shuffled pass; a last batch of one example joins the one before.

    (Batch normalisation has no variance of one example.)
    """
    sizes = [batch_size] * (count // batch_size) + [count % batch_size] * (count % batch_size > 0)
    if batch_size > 1 and len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [batch_size + 1]
    return sizes


def shuffled(count: int, batch_size: int, seed: int, *names: str | int) -> list[np.ndarray]:
    """One pass over `count` examples in random order, as row numbers by batch.

    Raises:
        ValueError: there are no examples.
    """
    if count < 1 or batch_size < 1:
        raise ValueError(f"the stream {'/'.join(map(str, names))} has {count} examples in batches of {batch_size}")
    order = np.random.default_rng(random_seed(seed, *names)).permutation(count)
    return np.split(order, np.cumsum(batch_sizes(count, batch_size))[:-1])


class Order:
    """The examples in batch number `i` of a stream. Every epoch visits each example once.

    Args:
        examples: their number, or their lengths (examples,). With lengths, examples of similar length share a batch
            (less padding): each epoch is shuffled, cut into buckets of `BUCKET` batches, sorted by length inside a
            bucket, and the batches are shuffled again; the smaller batch stays small. Without, see `shuffled`.
        batch_size: examples in a batch.
        stream: name of the stream ("forget", "retain"): streams are independent of each other.

    Raises:
        ValueError: there are no examples.
    """

    def __init__(self, examples: int | np.ndarray, batch_size: int, seed: int, stream: str) -> None:
        self.lengths = None if isinstance(examples, int) else np.asarray(examples)
        self.count = examples if isinstance(examples, int) else len(examples)
        if self.count == 0:
            raise ValueError(f"the stream {stream} has no examples")
        self.batch_size, self.seed, self.stream = batch_size, seed, stream
        self.batches_per_epoch = (
            len(batch_sizes(self.count, batch_size)) if self.lengths is None else math.ceil(self.count / batch_size)
        )
        self._epoch = lru_cache(maxsize=2)(self._make_epoch)

    def batch(self, number: int) -> list[int]:
        """Rows of batch `number`, counted from 0 over all epochs."""
        epoch, index = divmod(number, self.batches_per_epoch)
        rows: list[int] = self._epoch(epoch)[index].tolist()
        return rows

    def _make_epoch(self, epoch: int) -> list[np.ndarray]:
        if self.lengths is None:
            return shuffled(self.count, self.batch_size, self.seed, self.stream, epoch)
        generator = np.random.default_rng(random_seed(self.seed, self.stream, epoch))
        order = generator.permutation(self.count)
        batches: list[np.ndarray] = []
        for start in range(0, self.count, BUCKET * self.batch_size):
            bucket = order[start : start + BUCKET * self.batch_size]
            bucket = bucket[np.argsort(self.lengths[bucket], kind="stable")]
            batches += [bucket[i : i + self.batch_size] for i in range(0, len(bucket), self.batch_size)]
        return [batches[i] for i in generator.permutation(len(batches))]
