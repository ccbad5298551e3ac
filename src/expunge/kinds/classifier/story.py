"""A run on an image classifier: what its spine asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from expunge.core.order import random_seed
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
    retraining_passes,
    unlearning_session,
)
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets, read_image_sets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.kinds.classifier.training import fit, unlearn
from expunge.models.source import ModelSource, locate, named_folder
from expunge.runs.artifacts import Artifact, fitted, on_progress, refuse_changed, unlearned
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores
from expunge.runs.paths import absolute_if_there
from expunge.runs.story import Outcome, Story
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


def fitted_classifier(run: Run[ImageRecipe], sets: ImageSets, pictures: Pictures, name: str) -> Artifact:
    """A model trained from random weights on `pictures`; cached."""
    recipe = run.recipe
    key = {
        "model": recipe.model,
        "fitting": recipe.fitting.model_dump(),
        "sets": sets.digests(),
        "classes": list(sets.classes),
        "seed": recipe.seed,
        "name": name,
    }

    def make(path: Path, checkpoints: Path) -> dict[str, Any]:
        run.show.stage(f"training {'the base model' if name == 'base' else 'a model without the forget set'}")
        seed = random_seed(recipe.seed, name) % (1 << 31)
        task = new_classifier(recipe.model, sets.classes, seed)
        saving = {"checkpoints": checkpoints, "save_seconds": recipe.save_seconds, "on_progress": on_progress(run.show)}
        session = fitting_session(recipe, task, pictures, len(sets.classes), seed, **saving)
        fit(session, fitting_phase(recipe))
        save_classifier(task, path / "model", sets.size)
        return {"passes": session.cost.passes, "seconds": session.cost.seconds}

    return fitted(run, name, key, make)


def base_classifier(run: Run[ImageRecipe], sets: ImageSets) -> Artifact:
    """The model that is to forget: the one named, or one trained here on everything."""
    if run.recipe.model not in NEW:
        return Artifact(locate(run.recipe.model, run.recipe.revision))
    return fitted_classifier(run, sets, sets.tensors["retain"].joined(sets.tensors["forget"]), "base")


def check_base(run: Run[ImageRecipe], sets: ImageSets, outputs: Outputs) -> None:
    """Raise where the base has the classes in another order, or is no better than chance; see `refuse_unfit_base`."""
    recipe = run.recipe
    note = refuse_unfit_base(
        recipe.model, outputs, sets.classes, given=recipe.model not in NEW, allow_chance=recipe.allow_chance_base
    )
    if note is not None:
        run.notice(note)


class ClassifierStory(Story):
    """A run on an image classifier."""

    changed_words = {"sets": "the pictures", "seed": "the recipe's seed"}
    run: Run[ImageRecipe]
    sets: ImageSets
    base: Artifact
    oracle: Artifact | None

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

    def base_folder(self) -> Path | None:
        return None if self.run.recipe.model in NEW else named_folder(self.run.recipe.model)

    def read_sets(self) -> ImageSets:
        return read_sets(self.run.recipe)

    def read(self) -> None:
        run = self.run
        run.show.stage("reading the pictures")
        self.sets = self.read_sets()
        if self.method.needs.validation and not len(self.sets.tensors["validation"]):
            raise DataError(
                f"the method {run.recipe.method['name']} needs validation pictures, and there are none",
                next_step="give more pictures, or a larger share: --images.validation 0.2",
            )
        self.try_models()
        run.folder.claim(run.recipe.model_dump(mode="json"), run.recipe.to_yaml())
        for note in self.sets.notes:
            run.notice(note)

    def try_models(self) -> None:
        """Raise where a given model does not fit the pictures: before the folder is claimed."""
        recipe = self.run.recipe
        if recipe.model not in NEW:
            self.load(locate_classifier(recipe.model, recipe.revision))
        if recipe.retrained not in ("train", "none"):
            self.load(locate_classifier(recipe.retrained))

    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        self.run.show.stage("reading the pictures")
        self.sets = self.read_sets()
        if made_from is not None:
            refuse_changed(self.run.folder, made_from, self.made_from(), self.changed_words)

    def load(self, source: ModelSource) -> ImageClassifier:
        return load_any(source, self.sets.classes, self.sets.size)

    def prepare(self) -> None:
        self.base = self.make_base()
        check_base(self.run, self.sets, self.outputs(self.base.source, "base"))
        self.oracle = self.make_oracle()

    def make_base(self) -> Artifact:
        return base_classifier(self.run, self.sets)

    def make_oracle(self) -> Artifact | None:
        """The retrained model, where one is wanted: trained on the retain set alone, or given."""
        recipe = self.run.recipe
        if recipe.retrained == "none":
            return None
        if recipe.retrained != "train":
            return Artifact(locate_classifier(recipe.retrained))
        if recipe.model not in NEW:
            raise RecipeError(
                "a retrained model can be trained here only for a model that is trained here",
                seen=f"model: {recipe.model}",
                allowed="model: " + " or ".join(NEW),
                next_step="give the folder of a retrained model: --retrained FOLDER",
            )
        return fitted_classifier(self.run, self.sets, self.sets.tensors["retain"], "retrained")

    def made_from(self) -> dict[str, Any]:
        """What the unlearned model is made from, besides the base model."""
        recipe = self.run.recipe
        return {
            "sets": self.sets.digests(),
            "method": recipe.method,
            "unlearning": recipe.unlearning.model_dump(),
            "fitting": recipe.fitting.model_dump(),
            "seed": recipe.seed,
        }

    def unlearn(self) -> dict[str, Any]:
        return unlearned(self.run, self.made_from() | {"model": self.base.source.digest}, self.forget)

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        """Run the method and save `model/`; what it cost."""
        recipe, sets, run = self.run.recipe, self.sets, self.run
        run.show.stage(f"unlearning: {recipe.method['name']}")
        start = time.monotonic()
        task = load_classifier(self.base.source, sets.classes, sets.size)
        if not all(bool(weights.isfinite().all()) for weights in task.model.parameters()):
            raise ModelError(f"{self.base.source.name} holds weights that are no numbers", allowed="a model that works")
        session = unlearning_session(
            recipe, task, sets, recipe.seed, checkpoints=checkpoints, on_progress=on_progress(run.show)
        )
        with must_change(task.model, recipe.method["name"]):
            unlearn(session, self.method, loss_phase(recipe))
        save_classifier(task, run.folder.model, sets.size)
        retraining = retraining_passes(recipe, sets)
        return {
            "passes": session.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": session.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": session.losses,
        }

    def outputs(self, source: ModelSource, which: Which) -> Outputs:
        """One model's outputs on every split; cached."""

        def make(path: Path) -> None:
            task = self.load(source)
            replace(outputs_of(task, self.sets), features=features_of(task, self.sets)).save(path / "outputs.npz")

        key = {"which": which, "model": source.digest, "sets": self.sets.digests()}
        path = self.run.cached(f"measured-{which}", key, make, f"measuring the {which} model")
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
            record={
                "read_as": {"size": self.sets.size, "classes": list(self.sets.classes)},
                "exact": trained.get("exact"),
                "stopped": "all phases done",
            },
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
        outputs = self.outputs(source, "unlearned")
        self.oracle = self.make_oracle()
        reference = self.outputs(self.oracle.source, "retrained") if self.oracle else None
        scores = image_scores(outputs, "unlearned", reference, random_baseline(self.run.recipe, self.sets))
        return scores + self.distances({"unlearned": source}) + self.extras(source, "unlearned")
