"""Weights rounded as GGUF files hold them, and widened again: by the package gguf, in memory, without a file."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 32
"weights of a row that share a scale in GGUF's type Q4_0"
GGUF_Q4 = "GGUF Q4_0, blocks of 32"


def gguf_q4(weight: Tensor) -> Tensor:
    """Weights in GGUF's type Q4_0 (ggml, `block_q4_0`): 16 levels a block of 32, and a scale in 16 bits.

    With m the value of a block that is largest in magnitude, d = m / -8 is its scale, q = min(15, floor(w / d + 8.5)) the
    level of a weight w, and fp16(d) (q - 8) the value read back. Rows with a length that is not a multiple of 32 stay, as
    GGUF files keep them in a wider type.

    Args:
        weight: (..., rows, columns), a row for each output.
    """
    from gguf import GGMLQuantizationType, quants

    if weight.shape[-1] % BLOCK:
        return weight.clone()
    kind, rows = GGMLQuantizationType.Q4_0, weight.detach().float().cpu().reshape(-1, weight.shape[-1]).numpy()
    wide = quants.dequantize(quants.quantize(rows, kind), kind)
    return torch.from_numpy(wide).reshape(weight.shape).to(weight)
