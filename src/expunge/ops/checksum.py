"""A checksum of a weight."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


def checksum(weight: Tensor) -> int:
    """Of the values: the same where they are held in a wider type."""
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()
    whole = weight.contiguous().reshape(-1).view(torch.uint8)
    return zlib.crc32(whole.cpu().numpy().data, whole.numel() % (1 << 32))
