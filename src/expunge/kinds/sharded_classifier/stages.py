"""A run's SISA models: trained on all data, on the retain set, and after the request."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import torch

from expunge.core import storage
from expunge.data.images.table import missing_column
from expunge.kinds.classifier.any_model import is_sharded
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.sharded_classifier import sharding as sisa
from expunge.kinds.sharded_classifier.model import Sharded, read_sharded, shard_store, write_index
from expunge.kinds.sharded_classifier.sharding import Member, Sharding
from expunge.kinds.sharded_classifier.training import Data, Saving, train
from expunge.models.digest import digest_model
from expunge.models.source import ModelSource
from expunge.runs.artifacts import on_progress
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder


class ShardingMethod(Protocol):
    """The settings of a method that trains in shards; `methods/sisa.py` describes them."""

    shards: int
    slices: int
    epochs: float | None
    learning_rate: float | None
    weight_decay: float | None
    batch_size: int
    flip: bool
    together: str | None
    vote: Literal["mean", "majority"]


def sharding_of(recipe: ImageRecipe, method: ShardingMethod, sets: ImageSets) -> Sharding:
    """How the run's SISA model is trained: as it was where there is one, else as recipe and method say."""
    if is_sharded(recipe.model):
        return read_sharded(recipe.model).sharding
    fitting = recipe.fitting
    return Sharding(
        shards=method.shards,
        slices=method.slices,
        seed=recipe.seed,
        epochs=method.epochs or fitting.num_train_epochs,
        learning_rate=method.learning_rate or fitting.learning_rate,
        optimizer=fitting.optimizer,
        weight_decay=fitting.weight_decay if method.weight_decay is None else method.weight_decay,
        batch_size=method.batch_size,
        class_weights=fitting.class_weights,
        flip=method.flip,
        origin={"model": recipe.model, "classes": list(sets.classes), "size": sets.size},
    )


def base_shards(run: Run[ImageRecipe], method: ShardingMethod, sets: ImageSets) -> ModelSource:
    """The SISA model that is to forget: the one named, or one trained here on everything."""
    if is_sharded(run.recipe.model):
        found = read_sharded(run.recipe.model)
        if found.torch != torch.__version__:
            versions = f"the model was trained with torch {found.torch}, and this is {torch.__version__}"
            run.notice(f"{versions}: the same bits as retraining are not guaranteed")
        return ModelSource.of_folder(found.folder, run.recipe.model)
    sharding = sharding_of(run.recipe, method, sets)
    members = _members(sharding, method, sets, ("retain", "forget"))
    return _trained(run, "base", sharding, members, method, sets)


def retrained_shards(run: Run[ImageRecipe], method: ShardingMethod, sets: ImageSets) -> ModelSource | None:
    """The oracle, where one is wanted: the same shards, trained without ever having had the forget set."""
    if run.recipe.retrained == "none":
        return None
    sharding = sharding_of(run.recipe, method, sets)
    if is_sharded(run.recipe.model):
        found = read_sharded(run.recipe.model)
        members = sisa.without(found.members, sets.parts["forget"].ids)
    else:
        members = _members(sharding, method, sets, ("retain",))
    return _trained(run, "retrained", sharding, members, method, sets)


def _members(sharding: Sharding, method: ShardingMethod, sets: ImageSets, parts: Sequence[str]) -> list[Member]:
    ids = [id_ for part in parts for id_ in sets.parts[part].ids]
    pictures = sets.tensors[parts[0]]
    for part in parts[1:]:
        pictures = pictures.joined(sets.tensors[part])
    names = None
    if method.together is not None:
        for part in parts:
            if method.together not in sets.parts[part].columns:
                raise missing_column(method.together, list(sets.parts[part].columns), sets.parts[part].source)
        names = [str(value) for part in parts for value in sets.parts[part].columns[method.together].tolist()]
    return sisa.placed(sharding, ids, pictures, names)


def _trained(
    run: Run[ImageRecipe],
    name: str,
    sharding: Sharding,
    members: Sequence[Member],
    method: ShardingMethod,
    sets: ImageSets,
) -> ModelSource:
    """A SISA model trained from random weights, as a stage."""
    keys = [each.key for each in sisa.stages(sharding, members)]

    def make(path: Path) -> None:
        _fill(run, path / "model", sharding, members, method, sets, None)

    doing = "training the shards" if name == "base" else "training the shards without the forget set"
    path = run.cached(f"shards-{name}", {"keys": keys, "vote": method.vote}, make, doing) / "model"
    _forget_work(run.folder, keys)
    return ModelSource.of_folder(path)


def forget_shards(
    run: Run[ImageRecipe],
    method: ShardingMethod,
    sets: ImageSets,
    base: ModelSource,
    oracle: ModelSource | None,
) -> dict[str, Any]:
    """Fill `model/` with what is left after the request; what it cost, and whether it is the oracle bit for bit."""
    found: Sharded = read_sharded(str(base.folder))
    members = sisa.without(found.members, sets.parts["forget"].ids)
    wanted = sisa.stages(found.sharding, members)
    start = time.monotonic()
    made = _fill(run, run.folder.model, found.sharding, members, method, sets, found)
    _forget_work(run.folder, [each.key for each in wanted])
    held = dict(zip(sets.parts["retain"].ids, sets.tensors["retain"].labels.tolist(), strict=True))
    for note in sisa.missing_classes(found.sharding, members, held, sets.classes):
        run.notice(note)
    passes, whole = sum(each.passes for each in made), sum(each.passes for each in wanted)
    equal = None if oracle is None else digest_model(run.folder.model) == oracle.digests
    return {
        "passes": passes,
        "retraining_passes": whole,
        "share_of_retraining": passes / whole,
        "seconds": time.monotonic() - start,
        "losses": {},
        "exact": {
            "equal_to_retrained": equal,
            "stages": len(wanted),
            "stages_trained": [each.folder for each in made],
            "expected_share": sisa.expected_share(
                found.sharding.shards, found.sharding.slices, len(sets.parts["forget"])
            ),
        },
    }


def _fill(
    run: Run[ImageRecipe],
    target: Path,
    sharding: Sharding,
    members: Sequence[Member],
    method: ShardingMethod,
    sets: ImageSets,
    kept: Sharded | None,
) -> list[sisa.Stage]:
    """Train in `checkpoints/`, where what is finished stays if the run is broken off, and then fill `target` at once."""
    pictures = sets.tensors["retain"].joined(sets.tensors["forget"])
    ids = [*sets.parts["retain"].ids, *sets.parts["forget"].ids]
    work = _work(run.folder, [each.key for each in sisa.stages(sharding, members)])
    made = train(
        sharding,
        members,
        Data(ids, pictures, len(sets.classes)),
        work / "model",
        shard_store(str(sharding.origin["model"]), sets.classes, sets.size),
        reuse=None if kept is None else kept.folder,
        saving=Saving(work / "inside", run.recipe.save_seconds),
        on_progress=on_progress(run.show),
    )
    vote = method.vote if kept is None else kept.vote
    write_index(work / "model", sharding, members, sets.classes, sets.size, vote)
    with storage.folder_aside(target) as aside:
        shutil.copytree(work / "model", aside, dirs_exist_ok=True)
    return made


def _work(folder: RunFolder, keys: Sequence[str]) -> Path:
    return folder.checkpoints / f"shards-{storage.digest_value(list(keys))[:16]}"


def _forget_work(folder: RunFolder, keys: Sequence[str]) -> None:
    shutil.rmtree(_work(folder, keys), ignore_errors=True)
