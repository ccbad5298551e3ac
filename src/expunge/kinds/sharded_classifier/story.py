"""A run on a classifier that is trained in shards (SISA): only the shards that held a forgotten picture are trained again."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.data.images.table import missing_column
from expunge.errors import RecipeError
from expunge.kinds.classifier.model import NEW, is_sharded, new_classifier
from expunge.kinds.classifier.parts import read_image_parts
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.story import ClassifierStory
from expunge.kinds.sharded_classifier import sharding as sisa
from expunge.kinds.sharded_classifier.model import Sharded, read_sharded, write_index
from expunge.kinds.sharded_classifier.sharding import Member, Sharding, Stage
from expunge.kinds.sharded_classifier.training import Data, Saving, train
from expunge.models.digest import digest_model
from expunge.models.source import ModelSource
from expunge.runs.artifacts import Artifact, on_progress


class ShardedStory(ClassifierStory):
    """A run on a classifier that is trained in shards."""

    given: Sharded | None = None
    "the SISA model that is to forget; None if it is trained here"

    @property
    def settings(self) -> Any:
        """The method, whose fields `methods/sisa.py` describes."""
        return self.method

    def refuse_unfit(self) -> None:
        """Raise `RecipeError` unless the model is sharded, or trained here, and so is the retrained one."""
        recipe = self.run.recipe
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

    def read_data(self) -> None:
        recipe = self.run.recipe
        if not is_sharded(recipe.model):
            super().read_data()
            return
        self.given = read_sharded(recipe.model)
        trained = frozenset(member.id for member in self.given.members)
        self.sets = ImageSets.of(read_image_parts(recipe, self.given.size, self.given.classes, trained))

    def make_base(self) -> Artifact:
        """The SISA model that is to forget: the one named, or one trained here on everything."""
        if self.given is None:
            return self._trained("base", self.sharding(), self.members("retain", "forget"))
        if self.given.torch != torch.__version__:
            versions = f"the model was trained with torch {self.given.torch}, and this is {torch.__version__}"
            self.run.notice(f"{versions}: the same bits as retraining are not guaranteed")
        return Artifact(ModelSource.of_folder(self.given.folder, self.run.recipe.model))

    def make_oracle(self) -> Artifact | None:
        """The same shards, trained without ever having had the forget set, where they are wanted."""
        if self.run.recipe.retrained == "none":
            return None
        if self.given is None:
            return self._trained("retrained", self.sharding(), self.members("retain"))
        left = sisa.without(self.given.members, self.sets.parts["forget"].ids)
        return self._trained("retrained", self.given.sharding, left)

    def sharding(self) -> Sharding:
        """How a SISA model is trained here, as recipe and method say."""
        recipe, method = self.run.recipe, self.settings
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
            origin={"model": recipe.model, "classes": list(self.sets.classes), "size": self.sets.size},
        )

    def members(self, *names: str) -> list[Member]:
        """The pictures of parts of the data, in their shards and slices."""
        parts, column = [self.sets.parts[name] for name in names], self.settings.together
        pictures = self.sets.tensors[names[0]]
        for name in names[1:]:
            pictures = pictures.joined(self.sets.tensors[name])
        groups: list[str] | None = None
        if column is not None:
            for part in parts:
                if column not in part.columns:
                    raise missing_column(column, list(part.columns), part.source)
            groups = [str(value) for part in parts for value in part.columns[column].tolist()]
        return sisa.placed(self.sharding(), [id_ for part in parts for id_ in part.ids], pictures, groups)

    def _trained(self, name: str, sharding: Sharding, members: Sequence[Member]) -> Artifact:
        """A SISA model trained from random weights, as a stage."""
        keys = [each.key for each in sisa.stages(sharding, members)]

        def make(path: Path) -> None:
            self._fill(path / "model", sharding, members)

        doing = "training the shards" if name == "base" else "training the shards without the forget set"
        path = self.run.cached(f"shards-{name}", {"keys": keys, "vote": self.settings.vote}, make, doing) / "model"
        self._forget_work(keys)
        return Artifact(ModelSource.of_folder(path))

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        """Fill `model/` with what is left after the request; what it cost, and whether it is the oracle bit for bit."""
        run, parts = self.run, self.sets.parts
        run.show.stage(f"unlearning: {run.recipe.method['name']}")
        found = read_sharded(str(self.base.source.folder))
        sharding, members = found.sharding, sisa.without(found.members, parts["forget"].ids)
        wanted = sisa.stages(sharding, members)
        start = time.monotonic()
        made = self._fill(run.folder.model, sharding, members, found)
        self._forget_work([each.key for each in wanted])
        held = dict(zip(parts["retain"].ids, self.sets.tensors["retain"].labels.tolist(), strict=True))
        for note in sisa.missing_classes(sharding, members, held, self.sets.classes):
            run.notice(note)
        passes, whole = sum(each.passes for each in made), sum(each.passes for each in wanted)
        oracle = self.oracle
        return {
            "passes": passes,
            "retraining_passes": whole,
            "share_of_retraining": passes / whole,
            "seconds": time.monotonic() - start,
            "losses": {},
            "exact": {
                "equal_to_retrained": None
                if oracle is None
                else digest_model(run.folder.model) == oracle.source.digests,
                "stages": len(wanted),
                "stages_trained": [each.folder for each in made],
                "expected_share": sisa.expected_share(sharding.shards, sharding.slices, len(parts["forget"])),
            },
        }

    def _fill(
        self, target: Path, sharding: Sharding, members: Sequence[Member], kept: Sharded | None = None
    ) -> list[Stage]:
        """Train in `checkpoints/`, where finished work survives an interruption, and then fill `target` at once.
        Stages of `kept` are taken where they are the same."""
        run, sets = self.run, self.sets
        work = self._work([each.key for each in sisa.stages(sharding, members)])
        made = train(
            sharding,
            members,
            Data(
                [*sets.parts["retain"].ids, *sets.parts["forget"].ids],
                sets.tensors["retain"].joined(sets.tensors["forget"]),
                sets.classes,
            ),
            work / "model",
            partial(new_classifier, str(sharding.origin["model"]), sets.classes),
            reuse=None if kept is None else kept.folder,
            saving=Saving(work / "inside", run.recipe.save_seconds),
            on_progress=on_progress(run.show),
        )
        vote = self.settings.vote if kept is None else kept.vote
        write_index(work / "model", sharding, members, sets.classes, sets.size, vote)
        with storage.folder_aside(target) as aside:
            shutil.copytree(work / "model", aside, dirs_exist_ok=True)
        return made

    def _work(self, keys: Sequence[str]) -> Path:
        return self.run.folder.checkpoints / f"shards-{storage.digest_value(list(keys))[:16]}"

    def _forget_work(self, keys: Sequence[str]) -> None:
        shutil.rmtree(self._work(keys), ignore_errors=True)
