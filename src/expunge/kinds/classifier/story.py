"""A run on an image classifier: what its spine asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from expunge.core.score import Score, Which
from expunge.errors import DataError, ModelError, RecipeError
from expunge.kinds.classifier.any_model import is_sharded, load_any, locate_classifier
from expunge.kinds.classifier.base_check import in_the_models_order, refuse_unfit_base
from expunge.kinds.classifier.measured import features_of, outputs_of, random_baseline, weight_distances
from expunge.kinds.classifier.measures.scores import Outputs, image_scores
from expunge.kinds.classifier.model import (
    NEW,
    class_count,
    class_names,
    load_classifier,
    new_classifier,
    save_classifier,
    side,
)
from expunge.kinds.classifier.phases import (
    fitting_phase,
    fitting_session,
    loss_phase,
    unlearning_session,
)
from expunge.kinds.classifier.picture_story import PictureStory
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import ImageSets, read_image_sets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.kinds.classifier.training import fit, unlearn
from expunge.models.source import ModelSource, locate
from expunge.runs.artifacts import Artifact
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores
from expunge.runs.paths import absolute_if_there
from expunge.runs.story import Outcome
from expunge.train.unchanged import must_change

SIDE = 32
"pixels of the pictures that a new model learns from, as in the 2023 challenge"


def resolve_paths(recipe: ImageRecipe) -> ImageRecipe:
    """The recipe with every path that it names as an absolute one."""
    named = {name: absolute_if_there(getattr(recipe, name)) for name in ("data", "test_data", "forget")}
    model = recipe.model if recipe.model in NEW else absolute_if_there(recipe.model)
    retrained = recipe.retrained if recipe.retrained in ("train", "none") else absolute_if_there(recipe.retrained)
    return recipe.model_copy(update=named | {"model": model, "retrained": retrained})


def read_sets(recipe: ImageRecipe) -> ImageSets:
    """The pictures as the model wants them: of its size unless another is asked for, labels in its order."""
    size = recipe.images.size
    if recipe.model in NEW:
        return read_image_sets(recipe, size or SIDE)
    source = locate(recipe.model, recipe.revision)
    folder = source.folder
    sets = read_image_sets(recipe, size or side(folder) or 224, class_names(folder), count=class_count(folder))
    return sets if sets.other_order is None else in_the_models_order(sets, source)


def base_classifier(run: Run[ImageRecipe], sets: ImageSets) -> Artifact:
    """The model that is to forget: the one named, or one trained here on everything; cached."""
    story = ClassifierStory(run)
    story.sets = sets
    return story.make_base()


class ClassifierStory(PictureStory):
    """A run on an image classifier."""

    run: Run[ImageRecipe]
    sets: ImageSets
    new_models = tuple(NEW)

    def __init__(self, run: Run[ImageRecipe]) -> None:
        run.recipe = resolve_paths(run.recipe)
        super().__init__(run)
        self.refuse_unfit()

    def refuse_unfit(self) -> None:
        """Raise where the method does not work on the model."""
        if is_sharded(self.run.recipe.model):
            raise RecipeError(
                f"{self.run.recipe.model} is a SISA model: no other method works on it",
                seen=f"method: {self.run.recipe.method['name']}",
                next_step="--method sisa",
            )

    def read_data(self) -> None:
        self.sets = read_sets(self.run.recipe)

    def try_models(self) -> list[str]:
        recipe = self.run.recipe
        if self.method.needs.validation and not len(self.sets.tensors["validation"]):
            raise DataError(
                f"the method {recipe.method['name']} needs validation pictures, and there are none",
                next_step="give more pictures, or a larger share: --images.validation 0.2",
            )
        if recipe.model not in NEW:
            self.load(self.locate(recipe.model, recipe.revision))
        if recipe.retrained not in ("train", "none"):
            self.load(self.locate(recipe.retrained))
        return []

    def locate(self, name: str, revision: str | None = None) -> ModelSource:
        return locate_classifier(name, revision)

    def load(self, source: ModelSource) -> ImageClassifier:
        return load_any(source, self.sets.classes, self.sets.size)

    def prepare(self) -> None:
        self.base = self.make_base()
        recipe, outputs = self.run.recipe, self.outputs(self.base.source, "base")
        given, allowed = recipe.model not in NEW, recipe.allow_chance_base
        note = refuse_unfit_base(recipe.model, outputs, self.sets.classes, given=given, allow_chance=allowed)
        if note is not None:
            self.run.notice(note)
        self.oracle = self.make_oracle()

    def fitted_from(self) -> dict[str, Any]:
        return {"sets": self.sets.digests(), "classes": list(self.sets.classes)}

    def fit(self, pictures: Pictures, seed: int, saving: dict[str, Any]) -> tuple[ImageClassifier, Work]:
        recipe, classes = self.run.recipe, self.sets.classes
        task = new_classifier(recipe.model, classes, seed)
        session = fitting_session(recipe, task, pictures, len(classes), seed, **saving)
        fit(session, fitting_phase(recipe))
        return task, session

    def save(self, task: ImageClassifier, folder: Path) -> None:
        save_classifier(task, folder, self.sets.size)

    def made_from(self) -> dict[str, Any]:
        recipe = self.run.recipe
        return {
            "sets": self.sets.digests(),
            "method": recipe.method,
            "unlearning": recipe.unlearning.model_dump(),
            "fitting": recipe.fitting.model_dump(),
            "seed": recipe.seed,
        }

    def change(self, saving: dict[str, Any]) -> tuple[ImageClassifier, Work]:
        recipe, sets = self.run.recipe, self.sets
        task = load_classifier(self.base.source, sets.classes, sets.size)
        if not all(bool(weights.isfinite().all()) for weights in task.model.parameters()):
            raise ModelError(f"{self.base.source.name} holds weights that are no numbers", allowed="a model that works")
        session = unlearning_session(recipe, task, sets, recipe.seed, **saving)
        with must_change(task.model, recipe.method["name"]):
            unlearn(session, self.method, loss_phase(recipe))
        return task, session

    def outputs(self, source: ModelSource, which: Which, role: str | None = None) -> Outputs:
        """One model's outputs on every split; cached.

        Args:
            role: what the result is called, where it is none of the run's three models: the report shows those alone.
        """

        def make(path: Path) -> None:
            task = self.load(source)
            replace(outputs_of(task, self.sets), features=features_of(task, self.sets)).save(path / "outputs.npz")

        key = {"which": which, "model": source.digest, "sets": self.sets.digests()}
        path = self.run.cached(f"measured-{role or which}", key, make, f"measuring the {which} model")
        return Outputs.load(path / "outputs.npz")

    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        unlearned = locate_classifier(str(self.run.folder.model))
        before = self.outputs(self.base.source, "base")
        after = self.outputs(unlearned, "unlearned")
        reference = self.outputs(self.oracle.source, "retrained") if self.oracle is not None else None
        self.run.show.stage("writing the report")
        teacher = random_baseline(self.run.recipe, self.sets)
        scores = image_scores(before, "base", reference, teacher) + image_scores(after, "unlearned", reference, teacher)
        if reference is not None:
            scores += image_scores(reference, "retrained", None, teacher)
        models: dict[Which, ModelSource] = {"base": self.base.source, "unlearned": unlearned}
        scores += self.distances(models)
        if self.oracle is not None:
            models["retrained"] = self.oracle.source
        scores += [score for which, source in models.items() for score in self.extras(source, which)]
        return Outcome(
            scores=scores,
            base=self.base.source,
            sets=self.sets.sizes(),
            digests=self.sets.digests(),
            notes=self.run.notices(),
            record=self.record(trained),
        )

    def extras(self, source: ModelSource, which: Which) -> list[Score]:
        """Scores of one model by measures and attacks of other packages."""
        key = {"model": source.digest, "sets": self.sets.digests(), "seed": self.run.recipe.seed}
        load = partial(self.load, source)
        return extra_scores(self.run, which, key, load, load, self.sets)

    def distances(self, models: Mapping[Which, ModelSource]) -> list[Score]:
        """How far the weights of models lie from the retrained model's, where there is one."""
        if self.oracle is None:
            return []
        return weight_distances({w: self.load(s) for w, s in models.items()}, self.load(self.oracle.source))

    def scores_of(self, model: str) -> list[Score]:
        source = locate_classifier(model)
        outputs = self.outputs(source, "unlearned", "other")
        self.oracle = self.make_oracle()
        reference = self.outputs(self.oracle.source, "retrained") if self.oracle else None
        scores = image_scores(outputs, "unlearned", reference, random_baseline(self.run.recipe, self.sets))
        return scores + self.distances({"unlearned": source}) + self.extras(source, "unlearned")
