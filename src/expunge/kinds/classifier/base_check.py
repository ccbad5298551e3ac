"""Check that a classifier knows the forget set: the order of its classes, and better than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from expunge.errors import ModelError
from expunge.kinds.classifier.measures.classification import accuracy, balanced_accuracy
from expunge.kinds.classifier.measures.scores import Outputs
from expunge.kinds.classifier.model import load_classifier
from expunge.kinds.classifier.sets import ImageSets
from expunge.models.source import ModelSource

FEWEST = 3
"pictures of a class whose most frequent answer decides the model's class for it"


TRIED = 1024
"pictures of the retain set on which two orders are compared"


def in_the_models_order(sets: ImageSets, source: ModelSource) -> ImageSets:
    """The sets with their classes in the one of two orders in which a model without names is right more often."""
    assert sets.other_order is not None
    some = sets.tensors["retain"].take(torch.arange(min(TRIED, len(sets.tensors["retain"]))))
    task = load_classifier(source, sets.classes, sets.size)
    predicted, labels = task.outputs(some).argmax(-1).cpu(), some.labels
    other = torch.tensor(sets.other_order)[labels]
    return sets.in_other_order() if (predicted == other).sum() > (predicted == labels).sum() else sets


def better_order(predicted: np.ndarray, labels: np.ndarray) -> dict[int, int] | None:
    """Another class for each label, under which a model's predictions are right far more often; None if there is none.

    It is the most frequent answer to the pictures of each label, if no two labels have the same, and is taken for a
    wrong order if the interval of its accuracy (95 %) is above that of the given labels, and above 1/2.
    `predicted`, `labels`: (pictures,) classes.
    """
    found: dict[int, int] = {}
    for label in np.unique(labels).tolist():
        answers = predicted[labels == label]
        if len(answers) < FEWEST:
            return None
        found[label] = int(np.bincount(answers).argmax())
    if len(set(found.values())) < len(found) or all(label == answer for label, answer in found.items()):
        return None
    swapped = np.array([found[label] for label in labels.tolist()])
    now, then = accuracy(predicted, labels), accuracy(predicted, swapped)
    return found if then.low > max(now.high, 0.5) else None


def refuse_unfit_base(
    name: str, outputs: Outputs, classes: Sequence[str], *, given: bool, allow_chance: bool
) -> str | None:
    """Raise `ModelError` if a model has its classes in another order, or is no better than chance on the retain set.

    Args:
        outputs: the model's outputs, including on the retain set.
        given: whether it was trained elsewhere.
        allow_chance: accept a model that is no better than chance, and return a note on it.
    """
    logits, labels = outputs.logits["retain"], outputs.labels["retain"]
    if not len(labels):
        return None
    broken = ~np.isfinite(logits).all(1)
    if broken.all():
        return None  # weights that are not numbers: refused elsewhere
    predicted = np.where(broken, 0, logits.argmax(1))
    found = accuracy(predicted, labels)
    swapped = better_order(predicted, labels) if given else None
    if swapped is not None:
        then = accuracy(predicted, np.array([swapped[label] for label in labels.tolist()]))
        pairs = [f"{classes[label]} as {classes[answer]}" for label, answer in swapped.items() if label != answer]
        raise ModelError(
            f"{name} has its classes in another order than the data",
            seen=f"accuracy on the retain set {found.value:.3f} in this order, {then.value:.3f} where it answers "
            + ", ".join(pairs[:4])
            + (", …" if len(pairs) > 4 else ""),
            allowed="class names of the model that match the data's",
            next_step=f"name them in its config.json: id2label, in its own order, out of: {', '.join(classes[:12])}",
        )
    kinds = len(np.unique(labels))
    known = balanced_accuracy(predicted, labels)
    chance = 1 / kinds
    if kinds < 2 or known.low > chance:
        return None
    note = (
        f"the base model {name} is no better than chance on the retain set: mean accuracy over {kinds} classes "
        f"{known.value:.3f} ({known.low:.3f} to {known.high:.3f}), chance {chance:.3f}"
    )
    if allow_chance:
        return note
    raise ModelError(
        f"the base model {name} is no better than chance on its training classes, so it has nothing to forget",
        seen=f"mean accuracy over {kinds} classes on the retain set {known.value:.3f} ({known.low:.3f} to {known.high:.3f})",
        allowed=f"an interval above {chance:.3f}",
        next_step="give the data, the size and the normalisation that it was trained with; or continue anyway: "
        "--allow_chance_base true"
        if given
        else "train it for longer (--fitting.num_train_epochs) on more pictures; or continue anyway: "
        "--allow_chance_base true",
    )
