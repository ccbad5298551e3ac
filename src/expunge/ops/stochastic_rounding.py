"""float32 rounded to bfloat16 by chance, so that what is too small for a step of bfloat16 is kept on average."""

from __future__ import annotations

import torch
from torch import Tensor

CUT = 16
"bits of a float32 that a bfloat16 lacks; all of them are of the significand"
LOW = (1 << CUT) - 1
LARGEST = torch.finfo(torch.bfloat16).max


def round_stochastically(values: Tensor, generator: torch.Generator) -> Tensor:
    r"""One of the two nearest bfloat16 numbers of each value, up with the share of the way that lies behind it: the mean over
    all draws is the value.

    $$P(\lceil x \rceil) = \frac{x - \lfloor x \rfloor}{\lceil x \rceil - \lfloor x \rfloor}$$

    (Gupta et al. 2015, arXiv:1502.02551; for weights in bfloat16 Zamirai et al. 2020, arXiv:2010.06192.) Numbers of
    bfloat16, infinities included, stay what they are. What lies beyond its largest finite one is rounded to nearest, and what
    is not a number stays none.

    A float32 is a sign and a magnitude whose bits count up with it, subnormal numbers too: 16 random bits are added below
    those that stay, and carry as often as the rest of the value says.

    Args:
        values: float32, of any shape.
        generator: on their device; four values take one number of 64 bits from it.

    Returns:
        bfloat16, of the shape of `values`.
    """
    count = values.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device)
    drawn.random_(-(1 << 63), None, generator=generator)
    bits = drawn.view(torch.int16)[:count].to(torch.int32).bitwise_and_(LOW).view(values.shape)
    bits += values.contiguous().view(torch.int32)
    bits >>= CUT
    rounded = bits.to(torch.int16).view(torch.bfloat16)
    return torch.where(values.abs() <= LARGEST, rounded, values.to(torch.bfloat16))
