"""A run on an image-to-image generator: what its spine asks for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from expunge.core.order import random_seed
from expunge.core.score import Score, Which
from expunge.errors import RecipeError
from expunge.kinds.classifier.model import NEW as NEW_CLASSIFIERS
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
from expunge.kinds.generator.tradeoff import front, knob
from expunge.models.source import ModelSource, locate, named_folder
from expunge.runs.artifacts import Artifact, fitted, on_progress, refuse_changed, unlearned
from expunge.runs.context import Run
from expunge.runs.extras import extra_scores
from expunge.runs.paths import absolute_if_there
from expunge.runs.story import Outcome, Story
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


class GeneratorStory(Story):
    """A run on an image-to-image generator."""

    changed_words = {"sets": "the pictures", "seed": "the recipe's seed"}
    run: Run[GeneratorRecipe]
    sets: GeneratorSets
    corruption: Corruption
    base: Artifact
    oracle: Artifact | None

    def __init__(self, run: Run[GeneratorRecipe]) -> None:
        run.recipe = resolve_paths(run.recipe)
        super().__init__(run)
        if run.recipe.evaluation.front:
            knob(run.recipe)

    def base_folder(self) -> Path | None:
        return None if self.run.recipe.model in NEW else named_folder(self.run.recipe.model)

    def read(self) -> None:
        run = self.run
        self.corruption = corruption_of(run.recipe)
        run.show.stage("reading the pictures")
        self.sets = read_sets(run.recipe)
        notes = try_models(run.recipe, self.sets, self.corruption)
        run.folder.claim(run.recipe.model_dump(mode="json"), run.recipe.to_yaml())
        for note in (*self.sets.notes, *notes):
            run.notice(note)

    def reread(self, made_from: Mapping[str, Any] | None) -> None:
        self.run.show.stage("reading the pictures")
        self.corruption, self.sets = corruption_of(self.run.recipe), read_sets(self.run.recipe)
        if made_from is not None:
            refuse_changed(self.run.folder, made_from, self.made_from(), self.changed_words)

    def prepare(self) -> None:
        recipe, pictures = self.run.recipe, self.sets.tensors
        if recipe.model in NEW:
            self.base = self.fitted(pictures["retain"].joined(pictures["forget"]), "base")
        else:
            self.base = Artifact(locate(recipe.model, recipe.revision))
        self.oracle = self.make_oracle()

    def make_oracle(self) -> Artifact | None:
        """The retrained model, where one is wanted: trained on the retain set alone, or given."""
        recipe = self.run.recipe
        if recipe.retrained == "none":
            return None
        if recipe.retrained != "train":
            return Artifact(locate(recipe.retrained))
        if recipe.model not in NEW:
            raise RecipeError(
                "a retrained model can be trained here only for a model that is trained here",
                seen=f"model: {recipe.model}",
                allowed="model: " + " or ".join(NEW),
                next_step="give the folder of a retrained model: --retrained FOLDER",
            )
        return self.fitted(self.sets.tensors["retain"], "retrained")

    def fitted(self, pictures: Pictures, name: str) -> Artifact:
        """A model trained from random weights on `pictures`; cached."""
        recipe, run = self.run.recipe, self.run
        key = {
            "model": recipe.model,
            "fitting": recipe.fitting.model_dump(),
            "corruption": self.corruption_key,
            "sets": {k: digest for k, digest in self.sets.digests().items() if k in ("retain set", "forget set")},
            "seed": recipe.seed,
            "name": name,
        }

        def make(path: Path, checkpoints: Path) -> dict[str, Any]:
            run.show.stage(f"training {'the base model' if name == 'base' else 'a model without the forget set'}")
            seed = random_seed(recipe.seed, name) % (1 << 31)
            task = new_generator(recipe.model, self.sets.size, self.corruption, seed)
            task.begin(pictures)
            session = GeneratorWork(
                task=task,
                retain=pictures,
                forget=pictures,
                seed=seed,
                checkpoints=checkpoints,
                save_seconds=recipe.save_seconds,
                on_progress=on_progress(run.show),
            )
            fit_generator(session, fitting_phase(recipe))
            save_generator(task, path / "model", self.sets.size)
            return {"passes": session.cost.passes, "seconds": session.cost.seconds}

        return fitted(run, name, key, make)

    @property
    def corruption_key(self) -> list[Any]:
        return [self.corruption.name, self.corruption.value, self.corruption.patch]

    def made_from(self) -> dict[str, Any]:
        """What the unlearned model is made from, besides the base model."""
        recipe = self.run.recipe
        return {
            "sets": self.sets.digests(),
            "corruption": self.corruption_key,
            "method": recipe.method,
            "fitting": recipe.fitting.model_dump(),
            "seed": recipe.seed,
        }

    def unlearn(self) -> dict[str, Any]:
        return unlearned(self.run, self.made_from() | {"model": self.base.source.digest}, self.forget)

    def forget(self, checkpoints: Path) -> dict[str, Any]:
        """Run the method and save `model/`; what it cost."""
        recipe, run, sets = self.run.recipe, self.run, self.sets
        run.show.stage(f"unlearning: {recipe.method['name']}")
        start = time.monotonic()
        task = load_generator(self.base.source, sets.size, self.corruption)
        session = GeneratorWork(
            task=task,
            retain=sets.tensors["retain"] if sets.stand_in is None else sets.stand_in,
            forget=sets.tensors["forget"],
            seed=recipe.seed,
            checkpoints=checkpoints,
            save_seconds=recipe.save_seconds,
            on_progress=on_progress(run.show),
        )
        with must_change(task.model, recipe.method["name"]):
            self.method.apply(session)
        save_generator(task, run.folder.model, sets.size)
        retraining = 3 * recipe.fitting.num_train_epochs * len(sets.tensors["retain"])
        return {
            "passes": session.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": session.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": session.losses,
        }

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
            record={
                "read_as": {"size": sets.size, "classes": list(sets.classes or ())},
                "exact": None,
                "stopped": "all phases done",
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
