"""How classifiers of a run are trained: phases, weights of classes, and what a method works with."""

from __future__ import annotations

from typing import Any

from expunge.kinds.classifier.recipe import Fitting, ImageRecipe, Unlearning
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.kinds.classifier.training import balancing
from expunge.train.phase import Phase


def fitting_phase(recipe: ImageRecipe) -> Phase:
    """How a model is trained from random weights."""
    return _phase("fitting", recipe.fitting)


def loss_phase(recipe: ImageRecipe) -> Phase:
    """The one phase of methods that are a loss."""
    return _phase("unlearning", recipe.unlearning)


def _phase(name: str, settings: Fitting | Unlearning) -> Phase:
    return Phase(
        name=name,
        epochs=settings.num_train_epochs,
        learning_rate=settings.learning_rate,
        optimizer=settings.optimizer,
        weight_decay=settings.weight_decay,
        batch_size=settings.per_device_train_batch_size,
        schedule="cosine",
    )


def fitting_session(
    recipe: ImageRecipe, task: ImageClassifier, pictures: Pictures, classes: int, seed: int, **more: Any
) -> Work:
    """What training from random weights works with."""
    return Work(
        task=task,
        retain=pictures,
        forget=pictures,
        validation=None,
        classes=classes,
        seed=seed,
        class_weights=balancing(pictures, classes) if recipe.fitting.class_weights else None,
        **more,
    )


def unlearning_session(recipe: ImageRecipe, task: ImageClassifier, sets: ImageSets, seed: int, **more: Any) -> Work:
    """What a method works with."""
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
        **more,
    )


def retraining_passes(recipe: Any, sets: Any) -> float:
    """Image passes of training again without the forget set, as the recipe would train it."""
    return 3 * recipe.fitting.num_train_epochs * len(sets.tensors["retain"])
