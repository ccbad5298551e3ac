"""A run on any model of pictures: what classifiers and generators share."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from expunge.core.order import random_seed
from expunge.errors import RecipeError
from expunge.kinds.classifier.phases import retraining_passes
from expunge.kinds.classifier.task import Pictures
from expunge.models.source import ModelSource, named_folder
from expunge.runs.artifacts import Artifact, fitted, on_progress, refuse_changed, unlearned
from expunge.runs.story import Story


class PictureStory(Story):
    """A run on a model of pictures, which may be trained here from random weights.

    Attributes:
        new_models: names of models that are trained here.
        sets: the pictures, in parts, with `tensors`, `digests`, `sizes`, `size`, `classes` and `notes`.
    """

    changed_words = {"sets": "the pictures", "seed": "the recipe's seed"}
    new_models: ClassVar[tuple[str, ...]]
    sets: Any
    base: Artifact
    oracle: Artifact | None

    @abstractmethod
    def read_data(self) -> None:
        """Read the pictures."""

    @abstractmethod
    def try_models(self) -> list[str]:
        """Raise where a model does not fit the pictures: before the folder is claimed, so that another can be given.

        Returns what a report has to say of how the models were read.
        """

    @abstractmethod
    def locate(self, name: str, revision: str | None = None) -> ModelSource:
        """A given model by its folder or id."""

    @abstractmethod
    def fitted_from(self) -> dict[str, Any]:
        """What a model trained here is made from, in addition to recipe and name."""

    @abstractmethod
    def fit(self, pictures: Pictures, seed: int, saving: dict[str, Any]) -> tuple[Any, Any]:
        """(task, session) of a model trained from random weights."""

    @abstractmethod
    def save(self, task: Any, folder: Path) -> None:
        """Save a model as `from_pretrained` reads it."""

    @abstractmethod
    def made_from(self) -> dict[str, Any]:
        """What the unlearned model is made from, in addition to the base model."""

    @abstractmethod
    def change(self, saving: dict[str, Any]) -> tuple[Any, Any]:
        """(task, session) of the base model after the method has changed it."""

    def base_folder(self) -> Path | None:
        return None if self.run.recipe.model in self.new_models else named_folder(self.run.recipe.model)

    def read(self) -> None:
        run = self.run
        run.show.stage("reading the pictures")
        self.read_data()
        notes = self.try_models()
        run.folder.claim(run.recipe.model_dump(mode="json"), run.recipe.to_yaml())
        for note in (*self.sets.notes, *notes):
            run.notice(note)

    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        self.run.show.stage("reading the pictures")
        self.read_data()
        if made_from is not None:
            refuse_changed(self.run.folder, made_from, self.made_from(), self.changed_words)

    def prepare(self) -> None:
        self.base = self.make_base()
        self.oracle = self.make_oracle()

    def make_base(self) -> Artifact:
        """The model that is to forget: the one named, or one trained here on everything."""
        recipe, pictures = self.run.recipe, self.sets.tensors
        if recipe.model not in self.new_models:
            return Artifact(self.locate(recipe.model, recipe.revision))
        return self.fitted(pictures["retain"].joined(pictures["forget"]), "base")

    def make_oracle(self) -> Artifact | None:
        """The retrained model, where one is wanted: trained on the retain set alone, or given."""
        recipe = self.run.recipe
        if recipe.retrained == "none":
            return None
        if recipe.retrained != "train":
            return Artifact(self.locate(recipe.retrained))
        if recipe.model not in self.new_models:
            raise RecipeError(
                "a retrained model can be trained here only for a model that is trained here",
                seen=f"model: {recipe.model}",
                allowed="model: " + " or ".join(self.new_models),
                next_step="give the folder of a retrained model: --retrained FOLDER",
            )
        return self.fitted(self.sets.tensors["retain"], "retrained")

    def fitted(self, pictures: Pictures, name: str) -> Artifact:
        """A model trained from random weights on `pictures`; cached."""
        recipe, run = self.run.recipe, self.run
        key = {"model": recipe.model, "fitting": recipe.fitting.model_dump(), "seed": recipe.seed, "name": name}

        def make(path: Path, checkpoints: Path) -> dict[str, Any]:
            run.show.stage(f"training {'the base model' if name == 'base' else 'a model without the forget set'}")
            task, session = self.fit(pictures, random_seed(recipe.seed, name) % (1 << 31), self.saving(checkpoints))
            self.save(task, path / "model")
            return {"passes": session.cost.passes, "seconds": session.cost.seconds}

        return fitted(run, name, key | self.fitted_from(), make)

    def saving(self, checkpoints: Path) -> dict[str, Any]:
        """How a session saves and shows how far it is."""
        run = self.run
        seconds, shown = run.recipe.save_seconds, on_progress(run.show)
        return {"checkpoints": checkpoints, "save_seconds": seconds, "on_progress": shown}

    def unlearn(self) -> dict[str, Any]:
        return unlearned(self.run, self.made_from() | {"model": self.base.source.digest}, lambda: self.forget)

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        """Run the method and save `model/`; what it cost."""
        recipe, run = self.run.recipe, self.run
        run.show.stage(f"unlearning: {recipe.method['name']}")
        start = time.monotonic()
        task, session = self.change(self.saving(checkpoints))
        self.save(task, run.folder.model)
        retraining = retraining_passes(recipe, self.sets)
        return {
            "passes": session.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": session.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": session.losses,
        }

    def record(self, trained: Mapping[str, Any]) -> dict[str, Any]:
        """Parts of the record that all models of pictures have."""
        return {
            "read_as": {"size": self.sets.size, "classes": list(self.sets.classes or ())},
            "exact": trained.get("exact"),
            "stopped": "all phases done",
        }
