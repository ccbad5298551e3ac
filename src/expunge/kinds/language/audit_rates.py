"""Speed of an audit's work on this machine: a first piece of each kind is timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch

from expunge.kinds.language.attacks.facts import BATCH, Facts, batch_of, recall
from expunge.kinds.language.attacks.relearning import BATCH as TRAINED
from expunge.kinds.language.audit_models import AuditModels
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.matrices import matrices
from expunge.ops.rounding import round_to_nearest
from expunge.runs.work import Work

T = TypeVar("T")

WRITTEN = 6
"tokens to generate for each fact"
TOGETHER = 8
"facts to generate for"


def measured_rates(work: Work, models: AuditModels, subject: LazyModel, facts: Facts) -> Work:
    """Seconds per unit of each kind of `work` for this model.

    Args:
        facts: facts to read, train on and continue; no result is kept.
    """
    rates = Work()
    task = None
    if work.read or work.written or work.loaded:
        models.release()
        loading, task = _timed(lambda: models.look(subject))
        rates += Work(loaded=loading)
    rows = [fact.asked for fact in facts.every[:BATCH]]
    if work.read:
        assert task is not None
        recall(task, rows[:2])  # work done once does not belong in the rate
        seconds, _ = _timed(lambda: recall(task, rows))
        rates += Work(read=seconds / sum(len(row.ids) for row in rows))
    if work.written:
        assert task is not None
        prompts = [list(row.ids[: row.first]) for row in rows[:TOGETHER]]
        seconds, _ = _timed(lambda: list(task.generate(prompts, WRITTEN)))
        rates += Work(written=seconds / (WRITTEN * len(prompts)))
    if work.trained or work.steps:
        rates += _training(models, subject, facts)
    if work.changed:
        rates += Work(changed=_changing(models, subject))
    return rates


def _training(models: AuditModels, subject: LazyModel, facts: Facts) -> Work:
    """Time of the second of two steps: in the first the optimizer allocates its moments."""
    task = models.fresh(subject)
    rows = [fact.taught for fact in facts.every[:TRAINED]]
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=0.0, weight_decay=0.0, foreach=False)
    trained = stepped = 0.0
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        trained, _ = _timed(lambda: task.nll(batch_of(rows)).backward())
        stepped, _ = _timed(optimizer.step)
    return Work(trained=trained / sum(len(row.ids) for row in rows), steps=stepped)


def _changing(models: AuditModels, subject: LazyModel) -> float:
    """Time of one layer's matrices, scaled by their share of all."""
    task = models.look(subject)
    every = matrices(task)
    first = {name: weight for name, weight in every.items() if task.layer_of(name) == 0} or every
    numbers = sum(weight.numel() for weight in first.values())
    seconds, _ = _timed(lambda: [round_to_nearest(weight.detach().float(), 4) for weight in first.values()])
    return seconds * sum(weight.numel() for weight in every.values()) / max(1, numbers)


def _timed(do: Callable[[], T]) -> tuple[float, T]:
    """(seconds, result)."""
    start = time.monotonic()
    found = do()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic() - start, found
