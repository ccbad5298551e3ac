"""Run a method on a classifier, and train one from random weights, with their sessions, by the recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.kinds.classifier.recipe import Fitting, ImageRecipe, Unlearning
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.task import ImageBatch, ImageClassifier, Pictures
from expunge.runs.method import Method
from expunge.train.gradients import OwnGradient
from expunge.train.phase import Phase
from expunge.train.session import WithKnown
from expunge.train.step import Step


def fit(work: Work, phase: Phase) -> None:
    """Train the classifier on `work.retain` with cross-entropy, classes weighed by `work.class_weights`."""
    work.train(phase, work.retain, work.weighted_cross_entropy)


def balancing(pictures: Pictures, classes: int) -> Tensor:
    """(classes,) weights of cross-entropy: 1 / count, scaled to a mean of 1 over the pictures; 0 for a class without
    any."""
    counts = torch.bincount(pictures.labels, minlength=classes).float()
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    return weights * counts.sum() / (weights * counts).sum()


def unlearn(work: Work, method: Method, phase: Phase) -> None:
    """Run `method`: its own phases, or its loss over `phase`.

    An epoch of a loss is one pass over the retain set if it is drawn, paired with the forget set, and over the
    forget set otherwise.
    """
    if not method.has_loss():
        method.apply(work)
        return
    forget = WithKnown(work.forget, signals(work, method.signal_names))
    soft = method.draws_retain and getattr(method, "retain_target", "text") != "text"
    retain = WithKnown(work.retain, {"soft_weights": work.original_outputs(work.retain).softmax(-1)} if soft else {})
    # The first set defines the epoch.
    drawn = {"retain": retain} if method.draws_retain else {}
    drawn |= {"forget": forget} if method.needs.forget else {}

    def loss(*batches: ImageBatch) -> Tensor:
        by_set = dict(zip(drawn, batches, strict=True))
        return method.loss(Step(work.task, by_set.get("forget"), by_set.get("retain"))).total

    own = OwnGradient(work.task, tuple(drawn), method.make_gradient) if method.makes_gradient() else None
    first, *others = drawn.values()
    work.train(phase, first, own or loss, paired_with=others[0] if others else None)


def signals(work: Work, names: Sequence[str]) -> dict[str, Tensor]:
    """The named signals of the forget set that exist for pictures.

    `reference_nll` (n,) is the original's -log p(label); `surprise` (n,) the loss of each label without seeing
    the picture: log(classes). Both are in nats.
    """
    found = {}
    if "reference_nll" in names:
        outputs = work.original_outputs(work.forget)
        found["reference_nll"] = F.cross_entropy(outputs, work.forget.labels.to(outputs.device), reduction="none")
    if "surprise" in names:
        found["surprise"] = torch.full((len(work.forget),), math.log(work.classes), dtype=work.task.dtype)
    return found


def fitting_phase(recipe: ImageRecipe) -> Phase:
    """Settings to train a model from random weights."""
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
    """The session of training from random weights."""
    return Work(
        task=task,
        retain=pictures,
        forget=pictures,
        classes=classes,
        seed=seed,
        class_weights=balancing(pictures, classes) if recipe.fitting.class_weights else None,
        **more,
    )


def unlearning_session(recipe: ImageRecipe, task: ImageClassifier, sets: ImageSets, seed: int, **more: Any) -> Work:
    """The session of a method."""
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
    """Image passes of training again without the forget set, with the recipe's settings."""
    return 3 * recipe.fitting.num_train_epochs * len(sets.tensors["retain"])
