"""A run on a classifier that is trained in shards (SISA): only the shards that held a forgotten picture are trained again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from expunge.errors import RecipeError
from expunge.kinds.classifier.any_model import is_sharded
from expunge.kinds.classifier.model import NEW
from expunge.kinds.classifier.sets import read_image_sets
from expunge.kinds.classifier.story import ClassifierStory
from expunge.kinds.sharded_classifier.model import read_sharded
from expunge.kinds.sharded_classifier.stages import ShardingMethod, base_shards, forget_shards, retrained_shards
from expunge.runs.artifacts import Artifact


class ShardedStory(ClassifierStory):
    """A run on a classifier that is trained in shards."""

    @property
    def sharded(self) -> ShardingMethod:
        return cast(ShardingMethod, self.method)

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
        if is_sharded(recipe.model):
            found = read_sharded(recipe.model)
            trained = frozenset(member.id for member in found.members)
            self.sets = read_image_sets(recipe, found.size, found.classes, trained)
        else:
            super().read_data()

    def make_base(self) -> Artifact:
        return Artifact(base_shards(self.run, self.sharded, self.sets))

    def make_oracle(self) -> Artifact | None:
        found = retrained_shards(self.run, self.sharded, self.sets)
        return None if found is None else Artifact(found)

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        self.run.show.stage(f"unlearning: {self.run.recipe.method['name']}")
        oracle = None if self.oracle is None else self.oracle.source
        return forget_shards(self.run, self.sharded, self.sets, self.base.source, oracle)
