"""A run's SISA models: trained on everything, on what is kept, and after the request."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.data.images.table import missing_column
from expunge.errors import RecipeError
from expunge.kinds.classifier.model import NEW
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.sharded_classifier import sharding as sisa
from expunge.kinds.sharded_classifier.model import Sharded, is_sharded, read_sharded, shard_store, write_index
from expunge.kinds.sharded_classifier.sharding import Member, Sharding
from expunge.kinds.sharded_classifier.training import Data, Saving, train
from expunge.methods.sisa import Sisa
from expunge.models.digest import digest_model
from expunge.models.source import ModelSource
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.runs.stage import stage


def refuse_unfit(recipe: ImageRecipe, method: Method) -> None:
    """Raise unless model and method are both SISA's, or neither.

    Raises:
        RecipeError: SISA on a model that was trained whole, or another method on shards.
    """
    if not isinstance(method, Sisa):
        if is_sharded(recipe.model):
            raise RecipeError(
                f"{recipe.model} is a SISA model: no other method works on it",
                seen=f"method: {recipe.method['name']}",
                next_step="--method sisa",
            )
        return
    if recipe.model not in NEW and not is_sharded(recipe.model):
        raise RecipeError(
            "SISA forgets only from models that it trained, shard by shard",
            seen=f"model: {recipe.model}",
            allowed="model: " + ", ".join(NEW) + ", or the folder of a run with --method sisa",
            next_step="train one on the same pictures: leave --model out; or take another method",
        )
    if recipe.retrained not in ("none", "train"):
        raise RecipeError(
            "what SISA leaves is compared with shards that are trained here",
            seen=f"retrained: {recipe.retrained}",
            allowed="none, train",
        )


def sharding_of(recipe: ImageRecipe, method: Sisa, sets: ImageSets) -> Sharding:
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


def base_shards(recipe: ImageRecipe, method: Sisa, folder: RunFolder, sets: ImageSets, show: Silent) -> ModelSource:
    """The SISA model that is to forget: the one named, or one trained here on everything."""
    if is_sharded(recipe.model):
        found = read_sharded(recipe.model)
        if found.torch != torch.__version__:
            told = f"the model was trained with torch {found.torch}, and this is {torch.__version__}"
            folder.log("notice", text=f"{told}: the same bits as training anew are not sure")
        return ModelSource(recipe.model, found.folder, digest_model(found.folder))
    sharding = sharding_of(recipe, method, sets)
    return _trained(
        "base", sharding, _members(sharding, method, sets, ("retain", "forget")), recipe, method, folder, sets, show
    )


def retrained_shards(
    recipe: ImageRecipe, method: Sisa, folder: RunFolder, sets: ImageSets, show: Silent
) -> ModelSource | None:
    """The oracle, where one is wanted: the same shards, trained without ever having had the forget set."""
    if recipe.retrained == "none":
        return None
    sharding = sharding_of(recipe, method, sets)
    if is_sharded(recipe.model):
        found = read_sharded(recipe.model)
        members = sisa.without(found.members, sets.parts["forget"].ids)
    else:
        members = _members(sharding, method, sets, ("retain",))
    return _trained("retrained", sharding, members, recipe, method, folder, sets, show)


def _members(sharding: Sharding, method: Sisa, sets: ImageSets, parts: Sequence[str]) -> list[Member]:
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
    name: str,
    sharding: Sharding,
    members: Sequence[Member],
    recipe: ImageRecipe,
    method: Sisa,
    folder: RunFolder,
    sets: ImageSets,
    show: Silent,
) -> ModelSource:
    """A SISA model trained from random weights, as a stage."""
    keys = [each.key for each in sisa.stages(sharding, members)]

    def make(path: Path) -> None:
        show.stage("training the shards" if name == "base" else "training the shards without the forget set")
        _fill(path / "model", sharding, members, recipe, method, folder, sets, show, None)

    path = stage(folder, f"shards-{name}", {"keys": keys, "vote": method.vote}, make) / "model"
    _forget_work(folder, keys)
    return ModelSource(str(path), path, digest_model(path))


def forget_shards(
    recipe: ImageRecipe,
    method: Sisa,
    folder: RunFolder,
    sets: ImageSets,
    base: ModelSource,
    oracle: ModelSource | None,
    show: Silent,
) -> dict[str, Any]:
    """Fill `model/` with what is left after the request; what it cost, and whether it is the oracle bit for bit."""
    found: Sharded = read_sharded(str(base.folder))
    members = sisa.without(found.members, sets.parts["forget"].ids)
    wanted = sisa.stages(found.sharding, members)
    start = time.monotonic()
    made = _fill(folder.model, found.sharding, members, recipe, method, folder, sets, show, found)
    _forget_work(folder, [each.key for each in wanted])
    held = dict(zip(sets.parts["retain"].ids, sets.tensors["retain"].labels.tolist(), strict=True))
    for note in sisa.missing_classes(found.sharding, members, held, sets.classes):
        folder.log("notice", text=note)
    passes, whole = sum(each.passes for each in made), sum(each.passes for each in wanted)
    equal = None if oracle is None else digest_model(folder.model) == oracle.digests
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
    target: Path,
    sharding: Sharding,
    members: Sequence[Member],
    recipe: ImageRecipe,
    method: Sisa,
    folder: RunFolder,
    sets: ImageSets,
    show: Silent,
    kept: Sharded | None,
) -> list[sisa.Stage]:
    """Train in `checkpoints/`, where what is finished stays if the run is broken off, and then fill `target` at once."""
    pictures = sets.tensors["retain"].joined(sets.tensors["forget"])
    ids = [*sets.parts["retain"].ids, *sets.parts["forget"].ids]
    work = _work(folder, [each.key for each in sisa.stages(sharding, members)])
    made = train(
        sharding,
        members,
        Data(ids, pictures, len(sets.classes)),
        work / "model",
        shard_store(str(sharding.origin["model"]), sets.classes, sets.size),
        reuse=None if kept is None else kept.folder,
        saving=Saving(work / "inside", recipe.save_seconds),
        on_progress=_told(show),
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


def _told(show: Silent) -> Callable[[str, float, float], None]:
    def told(phase: str, share: float, loss: float) -> None:
        show.update(share, f"{phase}, loss {loss:.3f}")

    return told
