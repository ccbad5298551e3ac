"""Optimizer state of each parameter, allocated before the planned step."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SMALLEST_IN_8_BITS, BLOCK_IN_8_BITS = 4096, 256
"size of the smallest parameter whose moments bitsandbytes keeps in 8 bits, and of a block with one scale"


def with_moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """Give an AdamW the state of its first step; return its tensors."""
    made: list[Tensor] = []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state[parameter]
            state["step"] = torch.zeros((), dtype=torch.float32)
            for moment in ("exp_avg", "exp_avg_sq"):
                state[moment] = torch.zeros_like(parameter, dtype=torch.float32)
            made += [state["exp_avg"], state["exp_avg_sq"]]
    return made


def moments_in_8_bits(parameters: Iterable[Tensor]) -> list[Tensor]:
    """Bitsandbytes' state of each parameter: two bytes a number and two scales a block; for small ones two float32."""
    made: list[Tensor] = []
    for each in parameters:
        small = each.numel() < SMALLEST_IN_8_BITS
        kind, scales = (torch.float32, 0) if small else (torch.uint8, 2 * each.numel() // BLOCK_IN_8_BITS)
        made += [torch.zeros_like(each, dtype=kind), torch.zeros_like(each, dtype=kind), torch.zeros(scales)]
    return made
