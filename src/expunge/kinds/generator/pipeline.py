"""A run on an image-to-image generator, as a story: read the pictures, load or train the base, unlearn, measure, report.

The same shape as the other runs: every part is a stage in the run folder, and the same command goes on.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.order import random_seed
from expunge.core.progress import Silent
from expunge.core.score import Which
from expunge.errors import RecipeError
from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.completions import attack, attacker_of, draw_pictures, measure
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.judge_network import group_of, originals_of, refuse_unclassed, the_network
from expunge.kinds.generator.measures.scores import chances, completion_scores
from expunge.kinds.generator.model import (
    NEW,
    generator_side,
    load_generator,
    new_generator,
    new_patch,
    patch_side,
    save_generator,
)
from expunge.kinds.generator.recipe import GeneratorRecipe, GeneratorVerdict
from expunge.kinds.generator.session import GeneratorWork, fit_generator
from expunge.kinds.generator.sets import GeneratorSets, read_generator_sets
from expunge.kinds.generator.tradeoff import front, knob
from expunge.kinds.generator.verdict import judge_generator
from expunge.kinds.paths import settle_generator
from expunge.models.source import ModelSource, locate, named_folder
from expunge.report.image_record import image_record
from expunge.report.model_card import model_card
from expunge.report.record import versions, vouched
from expunge.report.render import render_report
from expunge.runs.artifacts import Base, fitted_stage, saved_files, told, unlearned_stage
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.runs.registry import make_method
from expunge.train.phase import Phase
from expunge.train.unchanged import must_change

SIDE = 64
"pixels of the pictures that a new model learns from, and of one that does not say its own"


def run(recipe: GeneratorRecipe, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Make a generator forget pictures, and measure how well: everything a run does, in order.

    Raises:
        ExpungeError: with what happened, where, and the next step; earlier results stay.
    """
    show, recipe = show or Silent(), settle_generator(recipe)
    folder, method = RunFolder(out), make_method(recipe.method, "image_to_image")
    if recipe.evaluation.front:
        knob(recipe)
    try:
        folder.refuse_moved(recipe.model_dump(mode="json"))
        folder.refuse_base(None if recipe.model in NEW else named_folder(recipe.model))
        with interruptible(f"run the same command again: it goes on in {folder.path}"), folder.held():
            corruption = corruption_of(recipe)
            show.stage("reading the pictures")
            sets = read_sets(recipe)
            notes = try_models(recipe, sets, corruption)
            folder.claim(recipe.model_dump(mode="json"), recipe.to_yaml())
            for note in (*sets.notes, *notes):
                folder.log("notice", text=note)
            base = base_model(recipe, folder, sets, corruption, show)
            oracle = retrained_model(recipe, folder, sets, corruption, show)
            trained = forget(recipe, folder, method, sets, corruption, base, show)
            finish(recipe, folder, method, sets, corruption, base, oracle, trained, show)
    finally:
        show.close()
    return folder


def corruption_of(recipe: GeneratorRecipe) -> Corruption:
    """What the generator undoes, in the model's patches."""
    if recipe.model in NEW:
        patch = new_patch(recipe.model)
    else:
        patch = patch_side(locate(recipe.model, recipe.revision).folder, recipe.model)
    return Corruption(recipe.corruption, recipe.strength, patch)


def side_of(recipe: GeneratorRecipe) -> int:
    """Pixels of the pictures: the model's own, or what is asked for."""
    if recipe.model in NEW:
        return recipe.images.size or SIDE
    return recipe.images.size or generator_side(locate(recipe.model, recipe.revision).folder, recipe.model) or SIDE


def read_sets(recipe: GeneratorRecipe) -> GeneratorSets:
    return read_generator_sets(recipe, side_of(recipe))


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


def fitted(
    recipe: GeneratorRecipe,
    folder: RunFolder,
    sets: GeneratorSets,
    corruption: Corruption,
    pictures: Pictures,
    name: str,
    show: Silent,
) -> Base:
    """A model trained from random weights on `pictures`, as a stage."""
    made_from = {
        "model": recipe.model,
        "fitting": recipe.fitting.model_dump(),
        "corruption": [corruption.name, corruption.value, corruption.patch],
        "sets": trained_on(sets),
        "seed": recipe.seed,
        "name": name,
    }

    def make(path: Path, checkpoints: Path) -> dict[str, Any]:
        show.stage(f"training {'the base model' if name == 'base' else 'a model without the forget set'}")
        seed = random_seed(recipe.seed, name) % (1 << 31)
        task = new_generator(recipe.model, sets.size, corruption, seed)
        task.begin(pictures)
        work = GeneratorWork(
            task=task,
            retain=pictures,
            forget=pictures,
            seed=seed,
            checkpoints=checkpoints,
            save_seconds=recipe.save_seconds,
            on_progress=told(show),
        )
        fit_generator(work, fitting_phase(recipe))
        save_generator(task, path / "model", sets.size)
        return {"passes": work.cost.passes, "seconds": work.cost.seconds}

    return fitted_stage(folder, name, made_from, make)


def trained_on(sets: GeneratorSets) -> dict[str, str]:
    """Digests of the parts that are trained on."""
    return {name: digest for name, digest in sets.digests().items() if name in ("retain set", "forget set")}


def base_model(
    recipe: GeneratorRecipe, folder: RunFolder, sets: GeneratorSets, corruption: Corruption, show: Silent
) -> Base:
    """The model that is to forget: the one named, or one trained here on everything."""
    if recipe.model not in NEW:
        return Base(locate(recipe.model, recipe.revision))
    together = sets.tensors["retain"].joined(sets.tensors["forget"])
    return fitted(recipe, folder, sets, corruption, together, "base", show)


def retrained_model(
    recipe: GeneratorRecipe, folder: RunFolder, sets: GeneratorSets, corruption: Corruption, show: Silent
) -> Base | None:
    """The oracle, where one is wanted: trained on the retain set alone, or given."""
    if recipe.retrained == "none":
        return None
    if recipe.retrained != "train":
        return Base(locate(recipe.retrained))
    if recipe.model not in NEW:
        raise RecipeError(
            "a retrained model can be trained here only for a model that is trained here",
            seen=f"model: {recipe.model}",
            allowed="model: " + " or ".join(NEW),
            next_step="give the folder of a retrained model: --retrained FOLDER",
        )
    return fitted(recipe, folder, sets, corruption, sets.tensors["retain"], "retrained", show)


def forget(
    recipe: GeneratorRecipe,
    folder: RunFolder,
    method: Method,
    sets: GeneratorSets,
    corruption: Corruption,
    base: Base,
    show: Silent,
) -> dict[str, Any]:
    """Run the method and save `model/`; what it cost."""
    retraining = 3 * recipe.fitting.num_train_epochs * len(sets.tensors["retain"])
    made_from = unlearned_from(recipe, sets, corruption) | {"model": base.source.digest}

    def make(checkpoints: Path) -> dict[str, Any]:
        show.stage(f"unlearning: {recipe.method['name']}")
        start = time.monotonic()
        task = load_generator(base.source, sets.size, corruption)
        work = GeneratorWork(
            task=task,
            retain=sets.tensors["retain"] if sets.stand_in is None else sets.stand_in,
            forget=sets.tensors["forget"],
            seed=recipe.seed,
            checkpoints=checkpoints,
            save_seconds=recipe.save_seconds,
            on_progress=told(show),
        )
        with must_change(task.model, recipe.method["name"]):
            method.apply(work)
        save_generator(task, folder.model, sets.size)
        return {
            "passes": work.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": work.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": work.losses,
        }

    noted = {"thresholds": recipe.verdict.model_dump(), "versions": versions()}
    return unlearned_stage(folder, made_from, make, noted)


def unlearned_from(recipe: GeneratorRecipe, sets: GeneratorSets, corruption: Corruption) -> dict[str, Any]:
    """What the unlearned model is made from, besides the base model."""
    return {
        "sets": sets.digests(),
        "corruption": [corruption.name, corruption.value, corruption.patch],
        "method": recipe.method,
        "fitting": recipe.fitting.model_dump(),
        "seed": recipe.seed,
    }


def finish(
    recipe: GeneratorRecipe,
    folder: RunFolder,
    method: Method,
    sets: GeneratorSets,
    corruption: Corruption,
    base: Base,
    oracle: Base | None,
    trained: dict[str, Any],
    show: Silent,
) -> None:
    """Measure the model as saved, write scores, record, card and report."""
    network, about = the_network(recipe, folder, sets, corruption, show)
    originals = originals_of(recipe, sets, network, corruption, about)
    models: dict[Which, ModelSource] = {"base": base.source, "unlearned": locate(str(folder.model))}
    if oracle is not None:
        models["retrained"] = oracle.source
    digest = str(about["digest"])
    completions = {
        which: measure(recipe, folder, source, sets, corruption, network, digest, which, show)
        for which, source in models.items()
    }
    group = group_of(sets, about)
    scores = [s for which, found in completions.items() for s in completion_scores(found, originals, which, group)]
    by_chance = chances(originals)
    if group is not None:
        by_chance["group"] = sets.forgotten_share()
    attacker = attacker_of(recipe, sets)
    if attacker is not None:
        by_chance["leaks"] = attacker.chance()
        for which, source in models.items():
            scores += attack(recipe, folder, source, sets, corruption, attacker, which, show)
    drawn_front = front(recipe, folder, base.source, sets, corruption, network, digest, originals, show)
    show.stage("writing the report")
    folder.write_scores(scores)
    draw_pictures(recipe, folder, sets, corruption, originals, completions)
    record = image_record(
        folder,
        recipe,
        scores,
        judge=lambda thresholds: judge_generator(
            scores, GeneratorVerdict(**thresholds), trained["share_of_retraining"], by_chance
        ),
        method={
            "name": recipe.method["name"],
            "settings": method.model_dump(),
            "citation": method.citation(),
            "formula": method.formulas(),
        },
        sets=sets.sizes(),
        read_as={"size": sets.size, "classes": list(sets.classes or ())},
        digests={
            "base model": base.source.digests,
            "model": saved_files(folder),
            **sets.digests(),
            "files": {path.name: storage.digest_file(path) for path in vouched(folder) if path.is_file()},
        },
        trained=trained,
        network=about,
        chances=by_chance,
        front=drawn_front,
        training={
            "passes": base.passes,
            "seconds": base.seconds,
            "unlearning_seconds": trained["seconds"],
        },
    )
    storage.write_json(folder.record, record)
    storage.write_text(folder.model / "README.md", model_card(folder, base_model=base.source.hub_id))
    render_report(folder)
    folder.log("finished", passed=record["verdict"]["passed"])
