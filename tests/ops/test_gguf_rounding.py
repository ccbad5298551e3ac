"""GGUF's Q4_0: the block format written out in float64, and its limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from expunge.ops.gguf_rounding import gguf_q4
from expunge.ops.rounding import by_columns


def written_out(row: list[float]) -> list[float]:
    """Block by block of 32, as the format is described."""
    found: list[float] = []
    for start in range(0, len(row), 32):
        block = row[start : start + 32]
        most = max(block, key=abs)
        scale = most / -8
        stored = float(np.float16(scale))
        for weight in block:
            level = 8 if scale == 0 else min(15, math.floor(weight / scale + 8.5))
            found.append(stored * (level - 8))
    return found


def test_it_is_the_block_format_written_out() -> None:
    weight = torch.randn(7, 96, generator=torch.Generator().manual_seed(0)) * 0.05
    weight[3, :32] = 0.0
    weight[4] *= 1000.0
    wanted = torch.tensor([written_out(row) for row in weight.double().tolist()], dtype=torch.float64)
    assert torch.allclose(gguf_q4(weight).double(), wanted, rtol=1e-6, atol=1e-9)
    assert torch.equal(gguf_q4(weight)[3, :32], torch.zeros(32))
    experts = torch.stack([weight, -weight])
    assert torch.equal(gguf_q4(experts), torch.stack([gguf_q4(weight), gguf_q4(-weight)]))
    assert torch.equal(by_columns(gguf_q4)(weight.mT), gguf_q4(weight).mT)


def test_a_block_keeps_its_largest_weight_and_errs_by_half_a_level_elsewhere() -> None:
    weight = torch.randn(50, 64, generator=torch.Generator().manual_seed(1))
    blocks, rounded = weight.view(50, 2, 32), gguf_q4(weight).view(50, 2, 32)
    largest = blocks.abs().amax(-1, keepdim=True)
    at = blocks.abs() == largest
    assert torch.allclose(rounded[at], blocks[at], rtol=1e-3)
    # On the side of the other sign there is a level less.
    assert ((rounded - blocks).abs() <= largest / 8 * 1.001).all()
    same = blocks.sign() == blocks[at].sign().view(50, 2, 1)
    assert ((rounded - blocks).abs() <= largest / 16 * 1.01)[same].all()


@pytest.mark.parametrize("columns", [31, 33, 4])
def test_rows_that_do_not_fill_blocks_stay_as_they_are(columns: int) -> None:
    weight = torch.randn(3, columns)
    kept = gguf_q4(weight)
    assert torch.equal(kept, weight)
    assert kept.data_ptr() != weight.data_ptr()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_type_of_the_numbers_stays(dtype: torch.dtype) -> None:
    weight = torch.randn(2, 32).to(dtype)
    assert gguf_q4(weight).dtype == dtype
