"""What methods see of a model: batches, and losses over their rows.

The one seam between methods and kinds of model. A *row* is a vector of logits with a target and belongs to an example:
a labelled token here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

IGNORED = -100
"label that keeps a position out of the loss, as in transformers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Examples padded on the right.

    Attributes:
        ids: (batch, time) token ids.
        labels: (batch, time); `labels[:, t]` is what position t - 1 should predict, `IGNORED` outside the loss.
        lengths: (batch,) tokens before padding.
        normaliser: what sums are divided by: the labelled tokens of the whole optimizer step, so that gradient
            accumulation changes nothing.
        soft_ids, soft_weights: (batch, time, k) candidates and their weights in place of `labels`.
    """

    ids: Tensor
    labels: Tensor
    lengths: Tensor
    normaliser: float
    soft_ids: Tensor | None = None
    soft_weights: Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return Batch(
            ids=self.ids.to(device),
            labels=self.labels.to(device),
            lengths=self.lengths.to(device),
            normaliser=self.normaliser,
            soft_ids=None if self.soft_ids is None else self.soft_ids.to(device),
            soft_weights=None if self.soft_weights is None else self.soft_weights.to(device),
        )


@dataclass(frozen=True, slots=True)
class Loss:
    """A loss and its parts (scalars), so that logs can tell them apart. `total` is what is minimised."""

    forget: Tensor | None = None
    retain: Tensor | None = None

    @property
    def total(self) -> Tensor:
        parts = [part for part in (self.forget, self.retain) if part is not None]
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


class Task(Protocol):
    """What a kind of model offers to methods."""

    def nll(self, batch: Batch) -> Tensor:
        """Negative log-likelihood of the labels (soft ones where the batch has them): sum over rows / normaliser."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """One micro-batch as a method sees it."""

    task: Task
    forget: Batch | None
    retain: Batch | None

    def nll(self, batch: Batch | None) -> Tensor:
        """Negative log-likelihood of the batch's labels, in nats a token of the whole optimizer step; scalar.

        Without gradient accumulation that is the batch's mean; with it, the batch's part of the mean.
        """
        if batch is None:
            raise ValueError("the method asked for a set that it did not declare in `needs`")
        return self.task.nll(batch)

    @staticmethod
    def share(batch: Batch | None) -> float:
        """The batch's share of the optimizer step's labelled tokens: 1 without gradient accumulation."""
        if batch is None:
            return 0.0
        return float((batch.labels[:, 1:] != IGNORED).sum()) / batch.normaliser
