from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field
from torch import Tensor

from expunge.runs.wrapping import WrappingLoss
from expunge.train.shards import part_of, whole

if TYPE_CHECKING:
    from expunge.train.gradients import Gradients


class SURE(WrappingLoss):
    r"""SURE, saliency-based unlearning with a large learning rate, around any loss (Zhang et al. 2024, arXiv:2410.16454).

    $$g \leftarrow m \odot (\nabla L_F + \nabla L_R), \qquad
      m_i = \left[\lVert \nabla_{\theta_i} L_F \rVert_2 \ge \gamma\right]$$

    Updates that are far smaller than a step of a 4-bit grid are rounded away, and what was forgotten comes back. The
    learning rate therefore has to be large; to keep the rest,
    only the parts of the model change that the forget term pushes most. $\theta_i$ are the rows of the weights, each
    number of a bias or norm by itself, and $\gamma$ is such that all but `percentile` percent of all rows together are
    left unchanged, in each step. $L_F$ and $L_R$ are the terms of any method. Give a large `training.learning_rate`:
    1e-4 in the authors' runs on full weights, ten times their usual one.

    The authors' code does not do this: its mask is applied in a hook that transformers' Trainer never calls, and the
    gradients of $L_F$ count twice. There, too, a row is one of the first axis of a tensor. AdamW still moves masked
    weights for some steps if they were not masked before, by its momentum. With an adapter the rows are those of its
    matrices.
    """

    percentile: Annotated[float, Field(ge=0, lt=100)] = 90.0
    "share of the rows, in percent, that are left unchanged; 90 in the authors' code; 0: none"

    def make_gradient(self, gradients: Gradients) -> None:
        self.add_part(gradients, "forget")
        forget = [torch.zeros_like(each) if each.grad is None else each.grad for each in gradients.parameters]
        lengths = [whole(row_lengths(each)) for each in forget]
        least = threshold(torch.cat(lengths), self.percentile)
        if self.draws_retain:
            self.add_part(gradients, "retain")
        for parameter, each in zip(gradients.parameters, lengths, strict=True):
            if parameter.grad is not None:
                mask = (each >= least).to(parameter.dtype).view(-1, *[1] * (parameter.dim() - 1))
                parameter.grad.mul_(part_of(mask.expand(parameter.shape) if parameter.dim() else mask[0], parameter))


def row_lengths(gradient: Tensor) -> Tensor:
    """(rows,) the length of each row of the first axis; the absolute value of each number of a vector."""
    if gradient.dim() < 2:
        return gradient.abs().reshape(-1)
    return torch.linalg.vector_norm(gradient, dim=tuple(range(1, gradient.dim())))


def threshold(lengths: Tensor, percentile: float) -> float:
    """The `percentile`-th percentile of the lengths (rows,), interpolated as in numpy."""
    place = percentile / 100 * (len(lengths) - 1)
    ordered = lengths.double().sort().values if lengths.device.type != "mps" else lengths.sort().values
    below, above = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    return float(below + (above - below) * (place - int(place)))
