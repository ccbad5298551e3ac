"""A training step with a clipped gradient."""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step down a loss, the gradient clipped to a norm of 1. A NaN gradient makes no step."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if torch.isfinite(torch.nn.utils.clip_grad_norm_(parameters, 1.0)):
        optimizer.step()
