"""The loss of O3's adapter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import NonNegativeFloat, PrivateAttr
from torch import Tensor

from expunge.kinds.language.lora import adapter_inputs
from expunge.runs.wrapping import WrappingLoss
from expunge.train.step import Loss, Step


class OrthogonalLoss(WrappingLoss):
    """Another method's loss, plus the overlap with earlier adapters: see `O3`."""

    weight: NonNegativeFloat = 0.1
    "lambda"
    _earlier: Mapping[str, Sequence[Tensor]] = PrivateAttr(default_factory=dict)

    def beside(self, earlier: Mapping[str, Sequence[Tensor]]) -> OrthogonalLoss:
        """This loss, compared with earlier adapters: A (rank, inputs) of each, by the linear layer's name."""
        self._earlier = earlier
        return self

    def loss(self, step: Step) -> Loss:
        found = super().loss(step)
        if not self._earlier or not self.weight or found.forget is None:
            return found
        task = step.task
        now = adapter_inputs(task.model)  # type: ignore[attr-defined]
        shared = shared_by(now, self._earlier) / len(task.layers)  # type: ignore[attr-defined]
        # It counts once per step, however many batches the step has.
        rows = torch.ones(len(step.forget.ids), device=shared.device)
        return Loss(forget=found.forget + self.weight * step.mean(step.forget, rows) * shared, retain=found.retain)


def shared_by(now: Mapping[str, Tensor], earlier: Mapping[str, Sequence[Tensor]]) -> Tensor:
    """The sum of squares of A_i A^T over all layers and earlier adapters i; scalar, 0 if no inputs are shared.

    Args:
        now: A (rank, inputs) by the name of the linear layer; those without an earlier adapter do not count.
    """
    squares = [(other.to(own) @ own.T).square().sum() for name, own in now.items() for other in earlier.get(name, ())]
    return torch.stack(squares).sum() if squares else torch.zeros(())
