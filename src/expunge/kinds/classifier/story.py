"""A run on an image classifier: the steps that the spine calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from expunge.core.order import random_seed
from expunge.core.processes import first_alone
from expunge.core.score import Score, Which
from expunge.errors import DataError, ModelError, RecipeError
from expunge.kinds.classifier.base_check import in_the_models_order, refuse_unfit_base
from expunge.kinds.classifier.measures.scores import COMPARED, SPLITS, Outputs, image_scores, weight_scores
from expunge.kinds.classifier.model import (
    NEW,
    class_count,
    class_names,
    is_sharded,
    load_any,
    load_classifier,
    locate_classifier,
    new_classifier,
    save_classifier,
    side,
)
from expunge.kinds.classifier.parts import read_image_parts
from expunge.kinds.classifier.picture_story import PictureStory, with_absolute_paths
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.kinds.classifier.training import (
    fit,
    fitting_phase,
    fitting_session,
    loss_phase,
    unlearn,
    unlearning_session,
)
from expunge.models.source import ModelSource, locate
from expunge.ops.layers import leaves
from expunge.runs.artifacts import Artifact
from expunge.runs.context import Run
from expunge.runs.story import Outcome
from expunge.train.unchanged import must_change

SIDE = 32
"pixels of the pictures that a new model learns from, as in the 2023 challenge"


def resolve_paths(recipe: ImageRecipe) -> ImageRecipe:
    """The recipe with every path made absolute."""
    return with_absolute_paths(recipe, ("data", "test_data", "forget"), NEW)


def read_sets(recipe: ImageRecipe) -> ImageSets:
    """The pictures in the model's size unless the recipe has another, with labels in its order."""
    size = recipe.images.size
    if recipe.model in NEW:
        return ImageSets.of(read_image_parts(recipe, size or SIDE))
    source = locate(recipe.model, recipe.revision)
    folder = source.folder
    wanted = size or side(folder) or 224
    sets = ImageSets.of(read_image_parts(recipe, wanted, class_names(folder), count=class_count(folder)))
    return sets if sets.other_order is None else in_the_models_order(sets, source)


def outputs_of(task: ImageClassifier, sets: ImageSets) -> Outputs:
    """Logits and labels of every split."""
    return Outputs(
        {split: task.outputs(sets.tensors[split]).cpu().numpy() for split in SPLITS},
        {split: sets.tensors[split].labels.numpy() for split in SPLITS},
    )


def features_of(task: ImageClassifier, sets: ImageSets) -> dict[str, np.ndarray]:
    """Inputs of the head, by split; empty for an ensemble, or without a head."""
    if getattr(task.model, "is_ensemble", False) or not leaves(task.model, nn.Linear):
        return {}
    return {split: task.features(sets.tensors[split]).cpu().numpy() for split in COMPARED}


def weights_of(task: ImageClassifier) -> dict[str, np.ndarray]:
    return {name: parameter.detach().cpu().numpy() for name, parameter in task.model.named_parameters()}


def random_baseline(recipe: ImageRecipe, sets: ImageSets) -> Outputs:
    """Outputs of a randomly initialised model."""
    name = recipe.model if recipe.model in NEW else "resnet18-small"
    return outputs_of(new_classifier(name, sets.classes, random_seed(recipe.seed, "teacher") % (1 << 31)), sets)


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
        """Raise if the method does not work on the model."""
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
        for _ in self.given_models():
            pass
        return []

    def locate(self, name: str, revision: str | None = None) -> ModelSource:
        return locate_classifier(name, revision)

    def load(self, source: ModelSource) -> ImageClassifier:
        return load_any(source, self.sets.classes, self.sets.size)

    def prepare(self) -> None:
        self.base = self.make_base()
        first_alone(self.check_base)
        self.oracle = self.make_oracle()

    def check_base(self) -> None:
        """Raise if the base model does not know its pictures; add notes on it for readers of the scores."""
        recipe, outputs = self.run.recipe, self.outputs(self.base.source, "base")
        given, allowed = recipe.model not in NEW, recipe.allow_chance_base
        note = refuse_unfit_base(recipe.model, outputs, self.sets.classes, given=given, allow_chance=allowed)
        if note is not None:
            self.run.notice(note)

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
            raise ModelError(
                f"{self.base.source.name} holds weights that are not numbers", allowed="a model that works"
            )
        session = unlearning_session(recipe, task, sets, recipe.seed, **saving)
        with must_change(task.model, recipe.method["name"]):
            unlearn(session, self.method, loss_phase(recipe))
        return task, session

    def outputs(self, source: ModelSource, which: Which, role: str | None = None) -> Outputs:
        """One model's outputs on every split; cached. `role` names the result if it is not one of the run's three
        models, the only ones in the report."""

        def make(path: Path) -> None:
            task = self.load(source)
            replace(outputs_of(task, self.sets), features=features_of(task, self.sets)).save(path / "outputs.npz")

        key = {"which": which, "model": source.digest, "sets": self.sets.digests()}
        path = self.run.cached(f"measured-{role or which}", key, make, f"measuring the {which} model")
        return Outputs.load(path / "outputs.npz")

    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        models = self.models()
        outputs = {which: self.outputs(source, which) for which, source in models.items()}
        self.run.show.stage("writing the report")
        teacher, reference = random_baseline(self.run.recipe, self.sets), outputs.get("retrained")
        scores = [s for which, found in outputs.items() for s in image_scores(found, which, reference, teacher)]
        scores += self.distances({which: source for which, source in models.items() if which != "retrained"})
        return self.outcome_of(scores + self.extras(models), trained)

    def distances(self, models: Mapping[Which, ModelSource]) -> list[Score]:
        """Distance of the models' weights from the retrained model's, if there is one."""
        if self.oracle is None:
            return []
        theirs = weights_of(self.load(self.oracle.source))
        ours = ((which, weights_of(self.load(source))) for which, source in models.items())
        return [score for which, weights in ours for score in weight_scores(weights, which, theirs)]

    def scores_of(self, model: str) -> list[Score]:
        source = self.locate(model)
        outputs = self.outputs(source, "unlearned", "other")
        self.oracle = self.make_oracle()
        reference = self.outputs(self.oracle.source, "retrained") if self.oracle else None
        scores = image_scores(outputs, "unlearned", reference, random_baseline(self.run.recipe, self.sets))
        return scores + self.distances({"unlearned": source}) + self.extras({"unlearned": source})
