"""Training the stages of a SISA model, each from the one before it."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.kinds.classifier.model import load_classifier, save_classifier
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch, ImageClassifier, Pictures
from expunge.kinds.classifier.training import balancing
from expunge.kinds.sharded_classifier.sharding import FEWEST, Member, Sharding, Stage, stages
from expunge.models.source import locate


@dataclass(frozen=True, slots=True)
class Data:
    """Pictures, their ids in the same order, and the names of the classes."""

    ids: Sequence[str]
    pictures: Pictures
    classes: Sequence[str]

    @property
    def side(self) -> int:
        """Height and width of the pictures in pixels."""
        return int(self.pictures.pixels.shape[-1])


@dataclass(frozen=True, slots=True)
class Saving:
    """Where the state inside a stage is saved, and at most how often; None saves none."""

    folder: Path | None = None
    seconds: float = 60.0


def train(
    sharding: Sharding,
    members: Sequence[Member],
    data: Data,
    folder: Path,
    new: Callable[[int], ImageClassifier],
    *,
    reuse: Path | None = None,
    saving: Saving = Saving(),
    on_progress: Callable[[str, float, float], None] | None = None,
) -> list[Stage]:
    """Fill `folder` with every stage that is not in it yet; the stages that `reuse` did not have.

    A stage is taken from `reuse` where its key is the same, and trained otherwise. Killed at any time, the same call goes
    on, and ends with the same bits.

    Args:
        data: where the members' pictures are; others are not looked at.
        new: a model with random weights by this seed.
        reuse: the folder of another SISA model, whose files are as it lists them.
        on_progress: called with (where training is, share of all of it, loss).
    """
    wanted = stages(sharding, members)
    made = [stage for stage in wanted if reuse is None or stage_key(reuse / stage.folder) != stage.key]
    whole, done = max(1, sum(stage.passes for stage in made)), 0
    for place in (folder, folder / "slices"):
        storage.remove_leftovers(place)
    before: Stage | None = None
    with one_thread():
        for stage in wanted:
            place = folder / stage.folder
            if stage not in made:
                assert reuse is not None
                if stage_key(place) != stage.key:
                    with storage.folder_aside(place) as aside:
                        shutil.copytree(reuse / stage.folder, aside, dirs_exist_ok=True)
            elif not _whole(place, stage.key):
                if stage.slice == 0 or before is None:
                    task = new(random_seed(sharding.seed, "weights", stage.shard) % (1 << 31))
                else:
                    task = load_classifier(locate(str(folder / before.folder)), data.classes, data.side)

                def report(phase: str, share: float, loss: float, stage: Stage = stage, done: int = done) -> None:
                    if on_progress is not None:
                        name = f"shard {stage.shard + 1} of {sharding.shards}, {phase}"
                        on_progress(name, (done + share * stage.passes) / whole, loss)

                own = saving.folder and saving.folder / stage.key[:16]
                _train_stage(sharding, stage, task, data, replace(saving, folder=own), report)
                save_classifier(task, place, data.side)
                files = storage.digest_folder(place)
                storage.write_json(place / "stage.json", {"key": stage.key, "files": files})
                if own is not None:
                    shutil.rmtree(own, ignore_errors=True)
            if stage in made:
                done += stage.passes
            before = stage
    return made


def _train_stage(
    sharding: Sharding,
    stage: Stage,
    task: ImageClassifier,
    data: Data,
    saving: Saving,
    on_progress: Callable[[str, float, float], None],
) -> None:
    if len(stage.ids) < FEWEST:
        return
    rows = {id_: row for row, id_ in enumerate(data.ids)}
    pictures = data.pictures.take(torch.tensor([rows[id_] for id_ in stage.ids], dtype=torch.int64))
    work = Work(
        task=task,
        retain=pictures,
        forget=pictures,
        classes=len(data.classes),
        seed=random_seed(sharding.seed, "shard", stage.shard),
        class_weights=balancing(pictures, len(data.classes)) if sharding.class_weights else None,
        checkpoints=saving.folder,
        save_seconds=saving.seconds,
        on_progress=on_progress,
    )

    def loss(batch: ImageBatch) -> Tensor:
        return work.weighted_cross_entropy(_flipped(batch) if sharding.flip else batch)

    work.train(sharding.phase(stage.slice), pictures, loss)


def _flipped(batch: ImageBatch) -> ImageBatch:
    """The batch with half of its pictures mirrored; `Work.train` seeds torch's own generator at each step."""
    mirrored = torch.rand(len(batch.rows)) < 0.5
    pixels = torch.where(mirrored.to(batch.pixels.device).view(-1, 1, 1, 1), batch.pixels.flip(-1), batch.pixels)
    return replace(batch, pixels=pixels)


def stage_key(place: Path) -> str | None:
    """The key of the stage that a folder holds, where it holds a finished one."""
    path = place / "stage.json"
    return str(storage.read_json(path)["key"]) if path.is_file() else None


def _whole(place: Path, key: str) -> bool:
    if stage_key(place) != key:
        return False
    files = storage.digest_folder(place)
    files.pop("stage.json")
    return bool(files == storage.read_json(place / "stage.json")["files"])


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums depend on how many threads make them: with one, a request on another machine ends with the same bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
