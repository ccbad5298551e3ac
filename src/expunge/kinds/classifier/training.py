"""Running a method on a classifier, and training one from random weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch, Pictures
from expunge.runs.method import Method
from expunge.train.phase import Phase
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

    An epoch of a loss is one pass over the retain set where it is drawn, with the forget set going round beside it, and
    over the forget set otherwise.
    """
    if not method.has_loss():
        method.apply(work)
        return
    forget_known = {"reference_nll": _nll(work, work.forget)} if method.needs.reference else {}
    retain_known = {}
    if method.draws_retain and getattr(method, "retain_target", "text") != "text":
        retain_known["soft_weights"] = work.original_outputs(work.retain).softmax(-1)
    if not method.draws_retain:
        work.train(
            phase,
            work.forget,
            lambda batch: method.loss(Step(work.task, batch, None)).total,
            known=forget_known,
        )
        return

    if not method.needs.forget:
        work.train(
            phase, work.retain, lambda batch: method.loss(Step(work.task, None, batch)).total, known=retain_known
        )
        return

    def loss(kept: ImageBatch, lost: ImageBatch) -> Tensor:
        return method.loss(Step(work.task, lost, kept)).total

    work.train(phase, work.retain, loss, beside=work.forget, known=retain_known, known_beside=forget_known)


def _nll(work: Work, pictures: Pictures) -> Tensor:
    """(n,) the original's -log p(label)."""
    outputs = work.original_outputs(pictures)
    return F.cross_entropy(outputs, pictures.labels.to(outputs.device), reduction="none")
