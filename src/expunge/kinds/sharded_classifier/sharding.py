"""SISA: one model per shard of the data; to forget a picture, only its shard is retrained.

Source: Bourtoule et al. 2021 (arXiv:1912.03817). The training pictures are split into shards, each shard into slices.
A shard's model is trained on its first slice, then on its first two, and so on, and is saved after every slice. A
request removes pictures; every shard with one resumes from its checkpoint before the first slice with one.

The result of a stage (a shard up to one of its slices) is a function of the settings, the seed, and the pictures in it:
a picture's slice is a hash of its name, and initial weights, order and dropout are drawn by the shard's and slice's
number. So the weights after a request are, bit for bit, those of a training that never had the pictures. A stage's
`key` is a digest of all that, and stages with the same key are the same.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from expunge.core import storage
from expunge.core.order import batch_sizes, random_seed
from expunge.errors import DataError, nearest
from expunge.kinds.classifier.task import Pictures
from expunge.train.phase import Phase
from expunge.train.session import BACKWARD, FORWARD

FEWEST = 2
"minimum pictures of a stage: batch normalisation has no variance for one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How a SISA model is trained: everything but the pictures.

    Attributes:
        epochs: passes over a shard's pictures, over all its stages together.
        flip: show every picture mirrored half of the time.
        origin: the initial weights and the classes, as JSON; part of every stage's key.
    """

    shards: int
    slices: int
    seed: int
    epochs: float
    learning_rate: float
    optimizer: str
    weight_decay: float
    batch_size: int
    class_weights: bool
    flip: bool
    origin: Mapping[str, Any]

    def place(self, name: str) -> tuple[int, int]:
        """(shard, slice) of the picture or person `name`, independent of others."""
        return (
            random_seed(self.seed, "shard", name) % self.shards,
            random_seed(self.seed, "slice", name) % self.slices,
        )

    def phase(self, number: int) -> Phase:
        """How slice `number` (from 0) is trained: all slices by the same number of epochs, the rate falling over
        all."""
        whole = self.slices * (self.slices + 1)
        return Phase(
            name=f"slice {number + 1}",
            epochs=2 * self.epochs / (self.slices + 1),
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,  # type: ignore[arg-type]
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            schedule="cosine",
            part=(number * (number + 1) / whole, (number + 1) * (number + 2) / whole),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """A training picture: its id, where it is, and the digest of its pixels and label."""

    id: str
    shard: int
    slice: int
    digest: str


@dataclass(frozen=True, slots=True)
class Stage:
    """A shard's model after one of its slices.

    Attributes:
        folder: where it is, below the SISA model's folder; the last slice's is the shard's model.
        ids: the pictures it was trained on, in their counting order.
        passes: image passes of this slice's training.
    """

    shard: int
    slice: int
    folder: str
    key: str
    ids: tuple[str, ...]
    passes: int


def placed(
    sharding: Sharding, ids: Sequence[str], pictures: Pictures, names: Sequence[str] | None = None
) -> list[Member]:
    """The pictures as members, by id. Raises `DataError`: too few pictures for this many shards and slices.

    Args:
        names: group of each picture; a group stays in one shard. Default: the pictures' ids.
    """
    least = FEWEST * sharding.shards * sharding.slices
    if len(ids) < least:
        raise DataError(
            f"too few pictures for {sharding.shards} shards of {sharding.slices} slices",
            seen=f"{len(ids)} pictures to train on",
            allowed=f"{least} or more",
            next_step="take fewer: --method.shards 4 --method.slices 1",
        )
    digests = [
        hashlib.sha256(pixels.numpy().tobytes() + str(int(label)).encode()).hexdigest()
        for pixels, label in zip(pictures.pixels, pictures.labels, strict=True)
    ]
    members = [
        Member(id_, *sharding.place(name), digest) for id_, name, digest in zip(ids, names or ids, digests, strict=True)
    ]
    return sorted(members, key=lambda member: member.id)


def without(members: Sequence[Member], ids: Collection[str]) -> list[Member]:
    """The members that are left. Raises `DataError` for an id that the model was never trained on."""
    known = {member.id for member in members}
    unknown = sorted(set(ids) - known)
    if unknown:
        near = nearest(unknown[0], known)
        raise DataError(
            f"{len(unknown)} of {len(set(ids))} pictures to forget were never trained on",
            seen=", ".join(unknown[:5]) + (", …" if len(unknown) > 5 else ""),
            next_step=f"did you mean {near}?" if near else "check that the list belongs to this model",
        )
    return [member for member in members if member.id not in set(ids)]


def stages(sharding: Sharding, members: Sequence[Member]) -> list[Stage]:
    """Every stage, shard by shard; `members` sorted by id."""
    settings = asdict(sharding)
    found = []
    for shard in range(sharding.shards):
        key = storage.digest_value([settings, shard])
        for number in range(sharding.slices):
            inside = [member for member in members if member.shard == shard and member.slice <= number]
            own = [[member.id, member.digest] for member in inside if member.slice == number]
            key = storage.digest_value([key, own])
            last = number == sharding.slices - 1
            folder = f"shard-{shard:02d}" if last else f"slices/shard-{shard:02d}-slice-{number + 1:02d}"
            ids = tuple(member.id for member in inside)
            found.append(Stage(shard, number, folder, key, ids, _passes(sharding.phase(number), len(ids))))
    return found


def _passes(phase: Phase, count: int) -> int:
    """Image passes of a phase over `count` pictures."""
    if count < FEWEST:
        return 0
    sizes = batch_sizes(count, phase.batch_size)
    whole, rest = divmod(phase.planned(len(sizes)), len(sizes))
    return (FORWARD + BACKWARD) * (whole * count + sum(sizes[:rest]))


def expected_share(shards: int, slices: int, pictures: int) -> float:
    """Expected cost of a request of this many pictures of different people, as a share of retraining.

    Stage j of a shard takes j of its slices' passes, and is made again where one of the pictures is in the shard's
    first j slices; shards and slices are taken to be of one size.
    """
    parts = slices * (slices + 1) / 2
    return sum(j / parts * (1 - (1 - j / (shards * slices)) ** pictures) for j in range(1, slices + 1))


def missing_classes(
    sharding: Sharding, members: Sequence[Member], labels: Mapping[str, int], names: Sequence[str]
) -> list[str]:
    """What to tell of shards that have no picture of a class that others hold, or too few to be trained at all."""
    held: list[Counter[int]] = [Counter() for _ in range(sharding.shards)]
    for member in members:
        held[member.shard][labels[member.id]] += 1
    everywhere = {label for counts in held for label in counts}
    notes = []
    for shard, counts in enumerate(held):
        absent = [names[label] for label in sorted(everywhere - set(counts))]
        if sum(counts.values()) < FEWEST:
            notes.append(f"shard {shard} holds {sum(counts.values())} pictures: it was not trained, and has no vote")
        elif absent:
            listed = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
            notes.append(f"shard {shard} has no picture of {listed}, and cannot learn what it is: fewer shards would")
    return notes
