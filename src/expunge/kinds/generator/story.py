"""A run on an image-to-image generator: what its spine asks for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from expunge.core.score import Score, Which
from expunge.kinds.classifier.model import NEW as NEW_CLASSIFIERS
from expunge.kinds.classifier.picture_story import PictureStory
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.completions import attack, attacker_of, draw_pictures, measure
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.inputs import corruption_of, read_sets
from expunge.kinds.generator.judge_network import group_of, originals_of, refuse_unclassed, the_network
from expunge.kinds.generator.measures.scores import Completions, chances, completion_scores
from expunge.kinds.generator.model import NEW, load_generator, new_generator, save_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import GeneratorWork, fit_generator
from expunge.kinds.generator.sets import GeneratorSets
from expunge.kinds.generator.task import ImageToImage
from expunge.kinds.generator.tradeoff import front, tradeoff_field
from expunge.models.source import ModelSource, locate
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores
from expunge.runs.paths import absolute_if_there
from expunge.runs.story import Outcome
from expunge.train.phase import Phase
from expunge.train.unchanged import must_change


def resolve_paths(recipe: GeneratorRecipe) -> GeneratorRecipe:
    """The recipe with every path that it names as an absolute one, and with or without a retrained model."""
    named = {name: absolute_if_there(getattr(recipe, name)) for name in ("data", "forget", "retain")}
    new = recipe.model in NEW
    model = recipe.model if new else absolute_if_there(recipe.model)
    retrained: str | None = recipe.retrained
    if retrained == "auto":
        retrained = "train" if new else "none"
    elif retrained not in ("train", "none"):
        retrained = absolute_if_there(retrained)
    network = recipe.network
    if network.model not in NEW_CLASSIFIERS:
        network = network.model_copy(update={"model": absolute_if_there(network.model)})
    return recipe.model_copy(update=named | {"model": model, "retrained": retrained, "network": network})


def try_models(recipe: GeneratorRecipe, sets: GeneratorSets, corruption: Corruption) -> list[str]:
    """Raise where a model does not fit the pictures: before the folder is claimed, so that another can be given.

    Returns what a report has to say of how the models were read.
    """
    notes: list[str] = []
    if recipe.model in NEW:
        new_generator(recipe.model, sets.size, corruption, 0)
    else:
        notes += load_generator(locate(recipe.model, recipe.revision), sets.size, corruption).notes
    if recipe.retrained not in ("train", "none"):
        notes += load_generator(locate(recipe.retrained), sets.size, corruption).notes
    corruption.hidden(torch.zeros(1, dtype=torch.int64), sets.size)
    refuse_unclassed(recipe, sets)
    return notes


def fitting_phase(recipe: GeneratorRecipe) -> Phase:
    """How a model is trained from random weights."""
    settings = recipe.fitting
    return Phase(
        name="fitting",
        epochs=settings.num_train_epochs,
        learning_rate=settings.learning_rate,
        optimizer="adamw",
        betas=(0.9, 0.95),
        weight_decay=settings.weight_decay,
        batch_size=settings.per_device_train_batch_size,
        schedule="cosine",
        warmup=settings.warmup_ratio,
    )


class GeneratorStory(PictureStory):
    """A run on an image-to-image generator."""

    run: Run[GeneratorRecipe]
    sets: GeneratorSets
    corruption: Corruption
    new_models = tuple(NEW)

    def __init__(self, run: Run[GeneratorRecipe]) -> None:
        run.recipe = resolve_paths(run.recipe)
        super().__init__(run)
        if run.recipe.evaluation.front:
            tradeoff_field(run.recipe)

    def read_data(self) -> None:
        self.corruption, self.sets = corruption_of(self.run.recipe), read_sets(self.run.recipe)

    def try_models(self) -> list[str]:
        return try_models(self.run.recipe, self.sets, self.corruption)

    def locate(self, name: str, revision: str | None = None) -> ModelSource:
        return locate(name, revision)

    @property
    def corruption_key(self) -> list[Any]:
        return [self.corruption.name, self.corruption.value, self.corruption.patch]

    def fitted_from(self) -> dict[str, Any]:
        trained = {name: d for name, d in self.sets.digests().items() if name in ("retain set", "forget set")}
        return {"corruption": self.corruption_key, "sets": trained}

    def fit(self, pictures: Pictures, seed: int, saving: dict[str, Any]) -> tuple[ImageToImage, GeneratorWork]:
        task = new_generator(self.run.recipe.model, self.sets.size, self.corruption, seed)
        task.begin(pictures)
        session = GeneratorWork(task=task, retain=pictures, forget=pictures, seed=seed, **saving)
        fit_generator(session, fitting_phase(self.run.recipe))
        return task, session

    def save(self, task: ImageToImage, folder: Path) -> None:
        save_generator(task, folder, self.sets.size)

    def made_from(self) -> dict[str, Any]:
        recipe = self.run.recipe
        return {
            "sets": self.sets.digests(),
            "corruption": self.corruption_key,
            "method": recipe.method,
            "fitting": recipe.fitting.model_dump(),
            "seed": recipe.seed,
        }

    def change(self, saving: dict[str, Any]) -> tuple[ImageToImage, GeneratorWork]:
        sets, seed = self.sets, self.run.recipe.seed
        task = load_generator(self.base.source, sets.size, self.corruption)
        retain = sets.tensors["retain"] if sets.stand_in is None else sets.stand_in
        session = GeneratorWork(task=task, retain=retain, forget=sets.tensors["forget"], seed=seed, **saving)
        with must_change(task.model, self.run.recipe.method["name"]):
            self.method.apply(session)
        return task, session

    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        run, sets, corruption = self.run, self.sets, self.corruption
        network, about = the_network(run, sets, corruption)
        originals = originals_of(run.recipe, sets, network, corruption, about)
        models: dict[Which, ModelSource] = {"base": self.base.source, "unlearned": locate(str(run.folder.model))}
        if self.oracle is not None:
            models["retrained"] = self.oracle.source
        digest = str(about["digest"])
        completions: dict[Which, dict[str, Completions]] = {
            which: measure(run, source, sets, corruption, network, digest, which) for which, source in models.items()
        }
        group = group_of(sets, about)
        scores = [s for which, found in completions.items() for s in completion_scores(found, originals, which, group)]
        by_chance = chances(originals)
        if group is not None:
            by_chance["group"] = sets.forgotten_share()
        attacker = attacker_of(run.recipe, sets)
        if attacker is not None:
            by_chance["leaks"] = attacker.chance()
            for which, source in models.items():
                scores += attack(run, source, sets, corruption, attacker, which)
        scores += [score for which, source in models.items() for score in self.extras(source, which)]
        drawn_front = front(run, self.base.source, sets, corruption, network, digest, originals)
        run.show.stage("writing the report")
        draw_pictures(run, sets, corruption, originals, completions)
        return Outcome(
            scores=scores,
            base=self.base.source,
            sets=sets.sizes(),
            digests=sets.digests(),
            notes=run.notices(),
            record=self.record(trained)
            | {
                "network": about,
                "chances": by_chance,
                "front": drawn_front,
                "training": {
                    "passes": self.base.passes,
                    "seconds": self.base.seconds,
                    "unlearning_seconds": trained["seconds"],
                },
            },
        )

    def extras(self, source: ModelSource, which: Which) -> list[Score]:
        """Scores of one model by measures and attacks of other packages."""
        load = partial(load_generator, source, self.sets.size, self.corruption)
        key = {"model": source.digest, "sets": self.sets.digests(), "seed": self.run.recipe.seed}
        key["corruption"] = self.corruption_key
        return extra_scores(self.run, which, key, load, load, self.sets)

    def scores_of(self, model: str) -> list[Score]:
        run, sets, corruption = self.run, self.sets, self.corruption
        network, about = the_network(run, sets, corruption)
        originals = originals_of(run.recipe, sets, network, corruption, about)
        found = measure(run, locate(model), sets, corruption, network, str(about["digest"]), "unlearned")
        scores = completion_scores(found, originals, "unlearned", group_of(sets, about))
        return scores + self.extras(locate(model), "unlearned")
