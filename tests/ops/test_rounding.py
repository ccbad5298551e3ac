"""Weights rounded to few bits: levels written out, and bitsandbytes' where it is installed."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from expunge.ops.rounding import NF4, ROUNDINGS, by_columns, normal_float4, round_to_nearest, survived


def test_four_bits_have_fifteen_levels_a_group() -> None:
    weight = torch.randn(6, 100, generator=torch.Generator().manual_seed(0))
    rounded = round_to_nearest(weight, 4, 64)
    for begin, end in ((0, 64), (64, 100)):
        for row in range(6):
            own, group = weight[row, begin:end], rounded[row, begin:end]
            step = own.abs().max() / 7
            assert torch.allclose(group / step, (group / step).round(), atol=1e-4)
            assert (group - own).abs().max() <= step / 2 + 1e-6


def test_what_is_on_the_levels_stays_and_zero_is_zero() -> None:
    weight = torch.arange(-7, 8).float().repeat(2, 1)
    assert torch.equal(round_to_nearest(weight, 4, None), weight)
    assert torch.equal(round_to_nearest(torch.zeros(3, 5), 8, None), torch.zeros(3, 5))
    assert torch.equal(normal_float4(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_each_expert_is_rounded_as_if_it_were_alone() -> None:
    weight = torch.randn(2, 3, 70) * torch.tensor([1.0, 100.0])[:, None, None]
    for rounding in ROUNDINGS.values():
        assert torch.equal(rounding(weight), torch.stack([rounding(expert) for expert in weight]))
        assert torch.equal(by_columns(rounding)(weight.mT), rounding(weight).mT)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_nf4_is_that_of_bitsandbytes() -> None:
    from bitsandbytes import functional

    weight = torch.randn(32, 128, generator=torch.Generator().manual_seed(1))
    packed, state = functional.quantize_4bit(weight, blocksize=64, compress_statistics=False, quant_type="nf4")
    wanted = functional.dequantize_4bit(packed, state)
    assert torch.allclose(normal_float4(weight, 64), wanted, atol=1e-5)
    assert len(NF4) == 16


def test_a_change_smaller_than_a_step_is_not_kept_and_a_large_one_is() -> None:
    before = torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    direction = torch.randn(64, 64, generator=torch.Generator().manual_seed(3))
    large, whole = survived(before, before + 2 * direction, ROUNDINGS["4 bits, groups of 64"])
    assert large / whole == pytest.approx(1, abs=0.1)
    nothing, whole = survived(before, before, ROUNDINGS["4 bits, groups of 64"])
    assert (nothing, whole) == (0.0, 0.0)
    level = torch.arange(-7, 8).float().repeat(4, 1)
    small, whole = survived(level, level + 0.01 * level.sign() * (level.abs() < 7), ROUNDINGS["4 bits, groups of 64"])
    assert small / whole == 0.0
