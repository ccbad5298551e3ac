"""A run on any model of pictures: shared by classifiers and generators."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from expunge.core.order import random_seed
from expunge.core.processes import first_alone, is_first, world
from expunge.core.score import Score, Which
from expunge.errors import RecipeError
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.classifier.training import retraining_passes
from expunge.models.folders import named_folder
from expunge.models.source import ModelSource, locate
from expunge.runs.artifacts import Artifact, fitted, on_progress, refuse_changed, unlearned
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores
from expunge.runs.paths import absolute_if_there
from expunge.runs.recipe import BaseRecipe
from expunge.runs.story import Outcome, Story
from expunge.train.precision import found_device

R = TypeVar("R", bound=BaseRecipe)

HERE = ("train", "none")
"values of the recipe's field `retrained` that are not a model"


def with_absolute_paths(recipe: R, names: Sequence[str], new_models: Collection[str]) -> R:
    """The recipe with the paths in these fields, and those of its models, made absolute."""
    found = {name: absolute_if_there(getattr(recipe, name)) for name in names}
    for name, words in (("model", new_models), ("retrained", HERE)):
        value = getattr(recipe, name)
        found[name] = value if value in words else absolute_if_there(value)
    return recipe.model_copy(update=found)


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

    def __init__(self, run: Run[Any]) -> None:
        super().__init__(run)
        found_device()  # joins the other processes, if there are any

    @abstractmethod
    def read_data(self) -> None:
        """Read the pictures."""

    @abstractmethod
    def try_models(self) -> list[str]:
        """Raise if a model does not match the pictures, before the folder is claimed, so that another can be given.

        Returns notes for the report on how the models were read.
        """

    def locate(self, name: str, revision: str | None = None) -> ModelSource:
        """A given model by its folder or id."""
        return locate(name, revision)

    @property
    def read_through(self) -> Mapping[str, Any]:
        """Further inputs of scores, in addition to models and pictures."""
        return {}

    @abstractmethod
    def load(self, source: ModelSource) -> Any:
        """Load what `locate` found, as a task."""

    @abstractmethod
    def fitted_from(self) -> dict[str, Any]:
        """Inputs of a model trained here, in addition to recipe and name."""

    @abstractmethod
    def fit(self, pictures: Pictures, seed: int, saving: dict[str, Any]) -> tuple[Any, Any]:
        """(task, session) of a model trained from random weights."""

    @abstractmethod
    def save(self, task: Any, folder: Path) -> None:
        """Save a model for `from_pretrained`."""

    @abstractmethod
    def made_from(self) -> dict[str, Any]:
        """Inputs of the unlearned model, in addition to the base model."""

    @abstractmethod
    def change(self, saving: dict[str, Any]) -> tuple[Any, Any]:
        """(task, session) of the base model after the method has changed it."""

    def given_models(self) -> Iterator[Any]:
        """The models that the recipe names and that are not trained here, loaded one by one."""
        recipe = self.run.recipe
        if recipe.model not in self.new_models:
            yield self.load(self.locate(recipe.model, recipe.revision))
        if recipe.retrained not in HERE:
            yield self.load(self.locate(recipe.retrained))

    def base_folder(self) -> Path | None:
        return None if self.run.recipe.model in self.new_models else named_folder(self.run.recipe.model)

    def read(self) -> None:
        run = self.run
        run.show.stage("reading the pictures")
        self.read_data()
        notes = self.try_models()
        # An audit's limits are fixed when it begins.
        run.folder.claim(run.recipe.model_dump(mode="json"), run.recipe.to_yaml(), free=("audit",))
        for note in (*self.sets.notes, *notes):
            run.notice(note)

    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        self.run.show.stage("reading the pictures")
        self.read_data()
        if made_from is not None:
            refuse_changed(self.run.folder, made_from, self.made_from(), self.changed_words)

    def begin(self) -> None:
        first_alone(self.read, self.read)
        self.prepare()

    def prepare(self) -> None:
        """Make or find the base model and the retrained one; models trained here are trained by all processes
        together."""
        self.base = self.make_base()
        self.oracle = self.make_oracle()

    def make_base(self) -> Artifact:
        """The model that is to forget: the one named, or one trained here on everything."""
        recipe, pictures = self.run.recipe, self.sets.tensors
        if recipe.model not in self.new_models:
            return Artifact(self.locate(recipe.model, recipe.revision))
        return self.fitted(pictures["retain"].joined(pictures["forget"]), "base")

    def make_oracle(self) -> Artifact | None:
        """The retrained model, if wanted: trained on the retain set only, or given."""
        recipe = self.run.recipe
        if recipe.retrained == "none":
            return None
        if recipe.retrained != "train":
            return Artifact(self.locate(recipe.retrained))
        if recipe.model not in self.new_models:
            raise RecipeError(
                "a retrained model can only be trained here for a model that is trained here",
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
            if is_first():
                self.save(task, path / "model")
            return {"passes": session.cost.passes, "seconds": session.cost.seconds}

        return fitted(run, name, key | self.fitted_from(), make)

    def saving(self, checkpoints: Path) -> dict[str, Any]:
        """A session's settings for saving and progress."""
        seconds, shown = self.run.recipe.save_seconds, on_progress(self.run.show)
        return {"checkpoints": checkpoints, "save_seconds": seconds, "on_progress": shown}

    def unlearn(self) -> dict[str, Any]:
        return unlearned(self.run, self.made_from() | {"model": self.base.source.digest}, lambda: self.forget)

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        """Run the method and save `model/`; return the cost."""
        recipe, run = self.run.recipe, self.run
        run.show.stage(f"unlearning: {recipe.method['name']}")
        start = time.monotonic()
        task, session = self.change(self.saving(checkpoints))
        if is_first():
            self.save(task, run.folder.model)
        retraining = retraining_passes(recipe, self.sets)
        return {
            "passes": session.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": session.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": session.losses,
        } | ({"processes": world()} if world() > 1 else {})

    def models(self) -> dict[Which, ModelSource]:
        """The run's models."""
        unlearned = self.locate(str(self.run.folder.model))
        found: dict[Which, ModelSource] = {"base": self.base.source, "unlearned": unlearned}
        return found if self.oracle is None else found | {"retrained": self.oracle.source}

    def extras(self, models: Mapping[Which, ModelSource]) -> list[Score]:
        """Scores of models by measures of other packages."""
        sets, scores = self.sets, []
        for which, source in models.items():
            key = {"model": source.digest, "sets": sets.digests(), "seed": self.run.recipe.seed, **self.read_through}
            load = partial(self.load, source)
            scores += extra_scores(self.run, which, key, load, load, sets)
        return scores

    def outcome_of(self, scores: list[Score], trained: Mapping[str, Any], **more: Any) -> Outcome:
        """The outcome with the entries of all models of pictures; `more`: further parts of the record."""
        sets = self.sets
        record = {
            "read_as": {"size": sets.size, "classes": list(sets.classes or ())},
            "exact": trained.get("exact"),
            "stopped": "all phases done",
        } | ({"processes": trained["processes"]} if "processes" in trained else {})
        return Outcome(
            scores=scores,
            base=self.base.source,
            sets=sets.sizes(),
            digests=sets.digests(),
            notes=self.run.notices(),
            record=record | more,
        )
