"""A run on an image classifier, as a story: read the pictures, load or train the base, measure, unlearn, measure again.

The same shape as a run on a language model: every part is a stage in the run folder, and the same command goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.order import random_seed
from expunge.core.progress import Silent
from expunge.core.score import Score, Which
from expunge.errors import DataError, ModelError, RecipeError
from expunge.kinds.classifier.base_check import in_the_models_order, refuse_unfit_base
from expunge.kinds.classifier.measures.scores import COMPARED, SPLITS, Outputs, image_scores, weight_scores
from expunge.kinds.classifier.model import (
    NEW,
    class_count,
    class_names,
    load_classifier,
    new_classifier,
    save_classifier,
    side,
)
from expunge.kinds.classifier.recipe import ImageRecipe, ImageVerdict
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import ImageSets, read_image_sets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.kinds.classifier.training import balancing, fit, unlearn
from expunge.kinds.classifier.verdict import judge_images
from expunge.kinds.paths import settle_images
from expunge.kinds.sharded_classifier.model import Ensemble, is_sharded, load_any, locate_classifier, read_sharded
from expunge.kinds.sharded_classifier.stages import base_shards, forget_shards, refuse_unfit, retrained_shards
from expunge.methods.sisa import Sisa
from expunge.models.source import ModelSource, locate, named_folder
from expunge.ops.layers import leaves
from expunge.report.image_record import image_record
from expunge.report.model_card import model_card
from expunge.report.record import versions, vouched
from expunge.report.render import render_report
from expunge.runs.artifacts import Base, fitted_stage, saved_files, told, unlearned_stage
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.runs.registry import make_method
from expunge.runs.stage import stage
from expunge.train.phase import Phase
from expunge.train.unchanged import must_change

SIDE = 32
"pixels of the pictures that a new model learns from, as in the 2023 challenge"


def run(recipe: ImageRecipe, out: str | Path, show: Silent | None = None) -> RunFolder:
    """Forget pictures, and measure how well: everything a run does, in order.

    Raises:
        ExpungeError: with what happened, where, and the next step; earlier results stay.
    """
    show, recipe = show or Silent(), settle_images(recipe)
    folder, method = RunFolder(out), make_method(recipe.method, "image_classifier", "sharded_classifier")
    refuse_unfit(recipe, method)
    try:
        folder.refuse_moved(recipe.model_dump(mode="json"))
        folder.refuse_base(None if recipe.model in NEW else named_folder(recipe.model))
        with interruptible(f"run the same command again: it goes on in {folder.path}"), folder.held():
            show.stage("reading the pictures")
            sets = read_sets(recipe)
            if method.needs.validation and not len(sets.tensors["validation"]):
                raise DataError(
                    f"the method {recipe.method['name']} needs validation pictures, and there are none",
                    next_step="give more pictures, or a larger share: --images.validation 0.2",
                )
            try_models(recipe, sets)
            folder.claim(recipe.model_dump(mode="json"), recipe.to_yaml())
            for note in sets.notes:
                folder.log("notice", text=note)
            base = base_model(recipe, folder, sets, show)
            check_base(recipe, folder, sets, base, show)
            oracle = retrained_model(recipe, folder, sets, show)
            trained = forget(recipe, folder, method, sets, base, oracle, show)
            finish(recipe, folder, method, sets, base, oracle, trained, show)
    finally:
        show.close()
    return folder


def read_sets(recipe: ImageRecipe) -> ImageSets:
    """The pictures as the model wants them: of its size unless another is asked for, labels in its order."""
    size = recipe.images.size
    if recipe.model in NEW:
        return read_image_sets(recipe, size or SIDE)
    if is_sharded(recipe.model):
        found = read_sharded(recipe.model)
        trained = frozenset(member.id for member in found.members)
        return read_image_sets(recipe, found.size, found.classes, trained)
    source = locate(recipe.model, recipe.revision)
    folder = source.folder
    sets = read_image_sets(recipe, size or side(folder) or 224, class_names(folder), count=class_count(folder))
    return sets if sets.other_order is None else in_the_models_order(sets, source)


def try_models(recipe: ImageRecipe, sets: ImageSets) -> None:
    """Raise where a given model does not fit the pictures: before the folder is claimed, so that another can be given."""
    if recipe.model not in NEW:
        load_any(locate_classifier(recipe.model, recipe.revision), sets.classes, sets.size)
    if recipe.retrained not in ("train", "none"):
        load_any(locate_classifier(recipe.retrained), sets.classes, sets.size)


def fitting_phase(recipe: ImageRecipe) -> Phase:
    """How a model is trained from random weights."""
    settings = recipe.fitting
    return Phase(
        name="fitting",
        epochs=settings.num_train_epochs,
        learning_rate=settings.learning_rate,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        batch_size=settings.per_device_train_batch_size,
        schedule="cosine",
    )


def fitted(
    recipe: ImageRecipe, folder: RunFolder, sets: ImageSets, pictures: Pictures, name: str, show: Silent
) -> Base:
    """A model trained from random weights on `pictures`, as a stage."""
    made_from = {
        "model": recipe.model,
        "fitting": recipe.fitting.model_dump(),
        "sets": sets.digests(),
        "classes": list(sets.classes),
        "seed": recipe.seed,
        "name": name,
    }

    def make(path: Path, checkpoints: Path) -> dict[str, Any]:
        show.stage(f"training {'the base model' if name == 'base' else 'a model without the forget set'}")
        seed = random_seed(recipe.seed, name) % (1 << 31)
        task = new_classifier(recipe.model, sets.classes, seed)
        classes = len(sets.classes)
        work = Work(
            task=task,
            retain=pictures,
            forget=pictures,
            validation=None,
            classes=classes,
            seed=seed,
            class_weights=balancing(pictures, classes) if recipe.fitting.class_weights else None,
            checkpoints=checkpoints,
            save_seconds=recipe.save_seconds,
            on_progress=told(show),
        )
        fit(work, fitting_phase(recipe))
        save_classifier(task, path / "model", sets.size)
        return {"passes": work.cost.passes, "seconds": work.cost.seconds}

    return fitted_stage(folder, name, made_from, make)


def base_model(recipe: ImageRecipe, folder: RunFolder, sets: ImageSets, show: Silent) -> Base:
    """The model that is to forget: the one named, or one trained here on everything."""
    method = make_method(recipe.method)
    if isinstance(method, Sisa):
        return Base(base_shards(recipe, method, folder, sets, show))
    if recipe.model not in NEW:
        return Base(locate(recipe.model, recipe.revision))
    together = sets.tensors["retain"].joined(sets.tensors["forget"])
    return fitted(recipe, folder, sets, together, "base", show)


def check_base(recipe: ImageRecipe, folder: RunFolder, sets: ImageSets, base: Base, show: Silent) -> None:
    """Raise where the base has the classes in another order, or is no better than chance; see `refuse_unfit_base`."""
    found = measure(folder, base.source, sets, "base", show)
    told = refuse_unfit_base(
        recipe.model, found, sets.classes, given=recipe.model not in NEW, allow_chance=recipe.allow_chance_base
    )
    if told is not None:
        folder.log("notice", text=told)


def retrained_model(recipe: ImageRecipe, folder: RunFolder, sets: ImageSets, show: Silent) -> Base | None:
    """The oracle, where one is wanted: trained on the retain set alone, or given."""
    method = make_method(recipe.method)
    if isinstance(method, Sisa):
        found = retrained_shards(recipe, method, folder, sets, show)
        return None if found is None else Base(found)
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
    return fitted(recipe, folder, sets, sets.tensors["retain"], "retrained", show)


def forget(
    recipe: ImageRecipe,
    folder: RunFolder,
    method: Method,
    sets: ImageSets,
    base: Base,
    oracle: Base | None,
    show: Silent,
) -> dict[str, Any]:
    """Run the method and save `model/`; what it cost."""
    retraining = retraining_passes(recipe, sets)
    made_from = unlearned_from(recipe, sets) | {"model": base.source.digest}

    def make(checkpoints: Path) -> dict[str, Any]:
        show.stage(f"unlearning: {recipe.method['name']}")
        if isinstance(method, Sisa):
            source = None if oracle is None else oracle.source
            return forget_shards(recipe, method, folder, sets, base.source, source, show)
        start = time.monotonic()
        task = load_classifier(base.source, sets.classes, sets.size)
        if not all(bool(weights.isfinite().all()) for weights in task.model.parameters()):
            raise ModelError(f"{base.source.name} holds weights that are no numbers", allowed="a model that works")
        work = make_work(recipe, task, sets, recipe.seed, checkpoints=checkpoints, on_progress=told(show))
        with must_change(task.model, recipe.method["name"]):
            unlearn(work, method, loss_phase(recipe))
        save_classifier(task, folder.model, sets.size)
        return {
            "passes": work.cost.passes,
            "retraining_passes": retraining,
            "share_of_retraining": work.cost.passes / retraining,
            "seconds": time.monotonic() - start,
            "losses": work.losses,
        }

    noted = {"thresholds": recipe.verdict.model_dump(), "versions": versions()}
    return unlearned_stage(folder, made_from, make, noted)


def unlearned_from(recipe: ImageRecipe, sets: ImageSets) -> dict[str, Any]:
    """What the unlearned model is made from, besides the base model."""
    return {
        "sets": sets.digests(),
        "method": recipe.method,
        "unlearning": recipe.unlearning.model_dump(),
        "fitting": recipe.fitting.model_dump(),
        "seed": recipe.seed,
    }


def make_work(recipe: ImageRecipe, task: ImageClassifier, sets: ImageSets, seed: int, **more: Any) -> Work:
    """What a method works with in this run."""
    classes = len(sets.classes)
    together = sets.tensors["retain"].joined(sets.tensors["forget"])
    return Work(
        task=task,
        retain=sets.tensors["retain"],
        forget=sets.tensors["forget"],
        validation=sets.tensors["validation"],
        classes=classes,
        seed=seed,
        class_weights=balancing(together, classes) if recipe.fitting.class_weights else None,
        training=fitting_phase(recipe),
        save_seconds=recipe.save_seconds,
        **more,
    )


def loss_phase(recipe: ImageRecipe) -> Phase:
    """The one phase of methods that are a loss."""
    settings = recipe.unlearning
    return Phase(
        name="unlearning",
        epochs=settings.num_train_epochs,
        learning_rate=settings.learning_rate,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        batch_size=settings.per_device_train_batch_size,
        schedule="cosine",
    )


def retraining_passes(recipe: ImageRecipe, sets: ImageSets) -> float:
    """Image passes of training anew without the forget set, as the recipe would train it."""
    return 3 * recipe.fitting.num_train_epochs * len(sets.tensors["retain"])


def measure(folder: RunFolder, source: ModelSource, sets: ImageSets, which: Which, show: Silent) -> Outputs:
    """One model's outputs on every split, as a stage."""

    def make(path: Path) -> None:
        show.stage(f"measuring the {which} model")
        task = load_any(source, sets.classes, sets.size)
        replace(outputs_of(task, sets), features=features_of(task, sets)).save(path / "outputs.npz")

    made_from = {"which": which, "model": source.digest, "sets": sets.digests()}
    return Outputs.load(stage(folder, f"measured-{which}", made_from, make) / "outputs.npz")


def outputs_of(task: ImageClassifier, sets: ImageSets) -> Outputs:
    return Outputs(
        {split: task.outputs(sets.tensors[split]).cpu().numpy() for split in SPLITS},
        {split: sets.tensors[split].labels.numpy() for split in SPLITS},
    )


def features_of(task: ImageClassifier, sets: ImageSets) -> dict[str, np.ndarray]:
    """What the head sees, by split; nothing where several networks answer together, or there is no head."""
    if isinstance(task.model, Ensemble) or not leaves(task.model, nn.Linear):
        return {}
    return {split: task.features(sets.tensors[split]).cpu().numpy() for split in COMPARED}


def weight_distances(models: Mapping[Which, ModelSource], oracle: ModelSource, sets: ImageSets) -> list[Score]:
    """How far the weights of models lie from the retrained model's."""

    def weights(source: ModelSource) -> dict[str, np.ndarray]:
        parameters = load_any(source, sets.classes, sets.size).model.named_parameters()
        return {name: parameter.detach().cpu().numpy() for name, parameter in parameters}

    theirs = weights(oracle)
    return [score for which, source in models.items() for score in weight_scores(weights(source), which, theirs)]


def stranger(recipe: ImageRecipe, sets: ImageSets) -> Outputs:
    """What a model with random weights says."""
    name = recipe.model if recipe.model in NEW else "resnet18-small"
    return outputs_of(new_classifier(name, sets.classes, random_seed(recipe.seed, "teacher") % (1 << 31)), sets)


def finish(
    recipe: ImageRecipe,
    folder: RunFolder,
    method: Method,
    sets: ImageSets,
    base: Base,
    oracle: Base | None,
    trained: dict[str, Any],
    show: Silent,
) -> None:
    """Measure the model as saved, write scores, record, card and report."""
    unlearned = locate_classifier(str(folder.model))
    before = measure(folder, base.source, sets, "base", show)
    after = measure(folder, unlearned, sets, "unlearned", show)
    reference = measure(folder, oracle.source, sets, "retrained", show) if oracle is not None else None
    show.stage("writing the report")
    teacher = stranger(recipe, sets)
    scores = image_scores(before, "base", reference, teacher) + image_scores(after, "unlearned", reference, teacher)
    if reference is not None:
        scores += image_scores(reference, "retrained", None, teacher)
    if oracle is not None:
        scores += weight_distances({"base": base.source, "unlearned": unlearned}, oracle.source, sets)
    folder.write_scores(scores)
    record = image_record(
        folder,
        recipe,
        scores,
        judge=lambda thresholds: judge_images(
            scores, ImageVerdict(**thresholds), trained["share_of_retraining"], trained.get("exact")
        ),
        method={
            "name": recipe.method["name"],
            "settings": method.model_dump(),
            "citation": method.citation(),
            "formula": method.formulas(),
        },
        sets=sets.sizes(),
        read_as={"size": sets.size, "classes": list(sets.classes)},
        digests={
            "base model": base.source.digests,
            "model": saved_files(folder),
            **sets.digests(),
            "files": {path.name: storage.digest_file(path) for path in vouched(folder) if path.is_file()},
        },
        trained=trained,
    )
    storage.write_json(folder.record, record)
    storage.write_text(folder.model / "README.md", model_card(folder, base_model=base.source.hub_id))
    render_report(folder)
    folder.log("finished", passed=record["verdict"]["passed"])
