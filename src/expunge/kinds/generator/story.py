"""A run on an image-to-image generator: the steps that the spine calls."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from expunge.core.score import Score
from expunge.kinds.classifier.model import NEW as NEW_CLASSIFIERS
from expunge.kinds.classifier.picture_story import PictureStory, with_absolute_paths
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.completions import attack, attacker_of, draw_pictures, measure
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.judge_network import make_judge, refuse_unclassed
from expunge.kinds.generator.measures.scores import chances, completion_scores
from expunge.kinds.generator.model import NEW, load_generator, new_generator, save_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import GeneratorWork, fit_generator
from expunge.kinds.generator.sets import GeneratorSets, corruption_of, read_sets
from expunge.kinds.generator.task import ImageToImage
from expunge.kinds.generator.tradeoff import front, tradeoff_field
from expunge.models.source import ModelSource
from expunge.runs.context import Run
from expunge.runs.paths import absolute_if_there
from expunge.runs.story import Outcome
from expunge.train.phase import Phase
from expunge.train.unchanged import must_change


def resolve_paths(recipe: GeneratorRecipe) -> GeneratorRecipe:
    """The recipe with every path that it names as an absolute one, and with or without a retrained model."""
    if recipe.retrained == "auto":
        recipe = recipe.model_copy(update={"retrained": "train" if recipe.model in NEW else "none"})
    network = recipe.network
    if network.model not in NEW_CLASSIFIERS:
        network = network.model_copy(update={"model": absolute_if_there(network.model)})
    return with_absolute_paths(recipe.model_copy(update={"network": network}), ("data", "forget", "retain"), NEW)


def fitting_phase(recipe: GeneratorRecipe) -> Phase:
    """Settings to train a model from random weights."""
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
        if self.run.recipe.model in NEW:
            new_generator(self.run.recipe.model, self.sets.size, self.corruption, 0)
        notes = [note for task in self.given_models() for note in task.notes]
        self.corruption.hidden(torch.zeros(1, dtype=torch.int64), self.sets.size)
        refuse_unclassed(self.run.recipe, self.sets)
        return notes

    def load(self, source: ModelSource) -> ImageToImage:
        return load_generator(source, self.sets.size, self.corruption)

    @property
    def read_through(self) -> Mapping[str, Any]:
        return {"corruption": self.corruption.key}

    def fitted_from(self) -> dict[str, Any]:
        trained = {name: d for name, d in self.sets.digests().items() if name in ("retain set", "forget set")}
        return {**self.read_through, "sets": trained}

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
            **self.read_through,
            "method": recipe.method,
            "fitting": recipe.fitting.model_dump(),
            "seed": recipe.seed,
        }

    def change(self, saving: dict[str, Any]) -> tuple[ImageToImage, GeneratorWork]:
        sets, seed = self.sets, self.run.recipe.seed
        task = self.load(self.base.source)
        session = GeneratorWork(task=task, retain=sets.kept, forget=sets.tensors["forget"], seed=seed, **saving)
        with must_change(task.model, self.run.recipe.method["name"]):
            self.method.apply(session)
        return task, session

    def outcome(self, trained: Mapping[str, Any]) -> Outcome:
        judge = make_judge(self.run, self.sets, self.corruption)
        originals, models, group = judge.originals(), self.models(), judge.group
        completions = {which: measure(judge, source, which) for which, source in models.items()}
        scores = [s for which, found in completions.items() for s in completion_scores(found, originals, which, group)]
        by_chance = chances(originals)
        if group is not None:
            by_chance["group"] = self.sets.forgotten_share()
        attacker = attacker_of(judge)
        if attacker is not None:
            by_chance["leaks"] = attacker.chance()
            for which, source in models.items():
                scores += attack(judge, source, attacker, which)
        scores += self.extras(models)
        drawn_front = front(judge, self.base.source, originals)
        self.run.show.stage("writing the report")
        draw_pictures(judge, originals, completions)
        seconds = {"seconds": self.base.seconds, "unlearning_seconds": trained["seconds"]}
        return self.outcome_of(
            scores,
            trained,
            network=judge.about,
            chances=by_chance,
            front=drawn_front,
            training={"passes": self.base.passes, **seconds},
        )

    def scores_again(self, model: str, wanted: Collection[tuple[str, str]]) -> list[Score]:
        """As `scores_of`, with attacks if one of their scores is wanted."""
        scores = self.scores_of(model)
        if {measure for measure, _ in wanted} <= {score.measure for score in scores}:
            return scores
        judge = make_judge(self.run, self.sets, self.corruption)
        attacker = attacker_of(judge)
        return scores + ([] if attacker is None else attack(judge, self.locate(model), attacker, "unlearned"))

    def scores_of(self, model: str) -> list[Score]:
        judge, source = make_judge(self.run, self.sets, self.corruption), self.locate(model)
        found = measure(judge, source, "unlearned")
        scores = completion_scores(found, judge.originals(), "unlearned", judge.group)
        return scores + self.extras({"unlearned": source})
