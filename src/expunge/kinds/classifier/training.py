"""Running a method on a classifier, and training one from random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch, Pictures
from expunge.runs.method import Method
from expunge.train.phase import Phase
from expunge.train.session import WithKnown
from expunge.train.step import Step


def fit(work: Work, phase: Phase) -> None:
    """Train the classifier on `work.retain` with cross-entropy, classes weighed by `work.class_weights`."""
    work.train(phase, work.retain, work.weighted_cross_entropy)


def balancing(pictures: Pictures, classes: int) -> Tensor:
    """(classes,) weights of cross-entropy: 1 / count, scaled to a mean of 1 over the pictures; 0 for a class without any."""
    counts = torch.bincount(pictures.labels, minlength=classes).float()
    weights = torch.where(counts > 0, 1 / counts.clamp(min=1), 0.0)
    return weights * counts.sum() / (weights * counts).sum()


def unlearn(work: Work, method: Method, phase: Phase) -> None:
    """Run `method`: its own phases, or its loss over `phase`.

    An epoch of a loss is one pass over the retain set where it is drawn, paired with the forget set, and over the
    forget set otherwise.
    """
    if not method.has_loss():
        method.apply(work)
        return
    forget = WithKnown(work.forget, signals(work, method.signal_names))
    soft = method.draws_retain and getattr(method, "retain_target", "text") != "text"
    retain = WithKnown(work.retain, {"soft_weights": work.original_outputs(work.retain).softmax(-1)} if soft else {})
    if not method.draws_retain:
        work.train(phase, forget, lambda batch: method.loss(Step(work.task, batch, None)).total)
    elif not method.needs.forget:
        work.train(phase, retain, lambda batch: method.loss(Step(work.task, None, batch)).total)
    else:

        def loss(retained: ImageBatch, forgotten: ImageBatch) -> Tensor:
            return method.loss(Step(work.task, forgotten, retained)).total

        work.train(phase, retain, loss, paired_with=forget)


def signals(work: Work, names: Sequence[str]) -> dict[str, Tensor]:
    """Of the signals of these names those that there are of pictures, of the forget set.

    `reference_nll` (n,) is the original's -log p(label); `surprise` (n,) what each label would cost one who does not see
    the picture: log(classes). Both are in nats.
    """
    found: dict[str, Tensor] = {}
    if "reference_nll" in names:
        outputs = work.original_outputs(work.forget)
        found["reference_nll"] = F.cross_entropy(outputs, work.forget.labels.to(outputs.device), reduction="none")
    if "surprise" in names:
        found["surprise"] = torch.full((len(work.forget),), math.log(work.classes), dtype=work.task.dtype)
    return found
