"""Speed of an audit's work on models of pictures on this machine: a first piece of each kind is timed."""

from __future__ import annotations

import time
from typing import Any

import torch

from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.attacks.relearning import BATCH
from expunge.kinds.classifier.task import Pictures
from expunge.ops.rounding import round_to_nearest
from expunge.runs.work import Work
from expunge.train.clipped import clipped_step

TIMED = 256
"pictures of the timed forward pass"


def measured_rates(work: Work, side: PictureSide[Any]) -> Work:
    """Seconds per unit of each kind of `work` for a side's model.

    Args:
        side: pictures of its retain set are read and trained on; no result is kept.
    """
    some = side.retain.take(torch.arange(min(TIMED, len(side.retain))))
    task, rates = side.look(), Work()
    if work.read:
        side.passed(task, some.take(torch.arange(min(8, len(some)))))  # work done once does not belong in the rate
        start = time.monotonic()
        side.passed(task, some)
        rates += Work(read=(time.monotonic() - start) / len(some))
    if work.loaded or work.trained:
        start = time.monotonic()
        copy = side.fresh()
        rates += Work(loaded=time.monotonic() - start)
        if work.trained:
            rates += Work(trained=_training(side, copy, some.take(torch.arange(min(BATCH, len(some))))))
    if work.changed:
        start = time.monotonic()
        for weight in side.matrices(task).values():
            round_to_nearest(weight.detach().flatten(1), 4)
        rates += Work(changed=time.monotonic() - start)
    return rates


def _training(side: PictureSide[Any], task: Any, batch: Pictures) -> float:
    """Time of the second of two steps: in the first the optimizer allocates its moments."""
    optimizer = torch.optim.AdamW(list(side.trainable(task)), lr=0.0, weight_decay=0.0)
    took = 0.0
    with torch.random.fork_rng(devices=[]):
        for _ in range(2):
            start = time.monotonic()
            clipped_step(side.loss(task, batch, True, "timed"), optimizer)
            took = time.monotonic() - start
    return took / len(batch)
