"""Distances between outputs, as losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def row_divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(rows,) KL(q || p) in nats of distributions given as logarithms, both (rows, classes)."""
    gap = torch.where(log_q.isneginf(), 0.0, log_q - log_p)
    return (log_q.exp() * gap).sum(-1)


def divergence(teacher_logits: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Mean KL(teacher || student) of softened outputs, times T^2 so that gradients keep their size; scalar.

    Args:
        teacher_logits, logits: (batch, classes); logarithms of probabilities will do for logits.
    """
    target = (teacher_logits / temperature).log_softmax(-1)
    output = (logits / temperature).log_softmax(-1)
    return F.kl_div(output, target, log_target=True, reduction="batchmean") * temperature**2
