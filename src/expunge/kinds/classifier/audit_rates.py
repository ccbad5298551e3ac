"""How fast an audit's work goes on this machine: a first piece of each kind is done and timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

from expunge.kinds.classifier.attacks.relearning import BATCH, train
from expunge.kinds.classifier.attacks.weights import matrices
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.ops.rounding import round_to_nearest
from expunge.runs.work import Work

TIMED = 256
"pictures whose way through the model is timed"


def measured_rates(
    work: Work, task: ImageClassifier, fresh: Callable[[], ImageClassifier], sets: Mapping[str, Pictures]
) -> Work:
    """Seconds that one of each kind of `work` takes of this model.

    Args:
        fresh: loads a copy that may be changed.
        sets: the run's pictures.
    """
    some = sets["retain"].take(torch.arange(min(TIMED, len(sets["retain"]))))
    rates = Work()
    if work.read:
        task.outputs(some.take(torch.arange(min(8, len(some))))).cpu()  # what is done once is none of the rate
        start = time.monotonic()
        task.outputs(some).cpu()
        rates += Work(read=(time.monotonic() - start) / len(some))
    if work.loaded or work.trained:
        start = time.monotonic()
        copy = fresh()
        rates += Work(loaded=time.monotonic() - start)
        if work.trained:
            rates += Work(trained=_training(copy, some.take(torch.arange(min(BATCH, len(some))))))
    if work.changed:
        start = time.monotonic()
        for weight in matrices(task).values():
            round_to_nearest(weight.detach().flatten(1), 4)
        rates += Work(changed=time.monotonic() - start)
    return rates


def _training(task: ImageClassifier, batch: Pictures) -> float:
    """Of the second of two steps: in the first the optimizer makes room for its moments."""
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=0.0, weight_decay=0.0)
    took = 0.0
    for _ in range(2):
        start = time.monotonic()
        train(task, optimizer, batch, held=True)
        took = time.monotonic() - start
    return took / len(batch)
