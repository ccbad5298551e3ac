"""Stochastic rounding to bfloat16: unbiased, no further than the next number, exact where there is nothing to round."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from expunge.ops.stochastic_rounding import round_stochastically


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def neighbours(value: float) -> tuple[float, float]:
    """The bfloat16 numbers at or next to a value, below and above, by arithmetic on its exponent alone (8 bits of a
    significand; none smaller than 2^-133)."""
    exponent = max(math.frexp(abs(value))[1] - 8, -133) if value else -133
    unit = math.ldexp(1.0, exponent)
    return math.floor(value / unit) * unit, math.ceil(value / unit) * unit


VALUES = [0.02, -0.02, 1.0001, -3.14159, 1e-3, 255.5, -1e30, 1e-38, -3e-39, 1e-40, 2e-41, 1.999999, 0.0156249]
"of both signs, just below powers of two, and subnormal"


@pytest.mark.parametrize("value", VALUES)
def test_the_mean_is_the_value_and_only_its_neighbours_come(value: float) -> None:
    count = 40_000
    given = torch.full((count,), value, dtype=torch.float32)
    exact = float(given[0].double())
    low, high = neighbours(exact)
    found = round_stochastically(given, generator()).double()
    assert found.dtype == torch.float64
    assert set(found.tolist()) <= {low, high}
    share = (exact - low) / (high - low)
    up = float((found == high).double().mean())
    # Four standard errors of a share of so many draws; a hundredth more than the 16 bits can say.
    assert abs(up - share) <= 4 * math.sqrt(share * (1 - share) / count) + 2**-16


def test_numbers_of_bfloat16_stay_whatever_is_drawn() -> None:
    every = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    numbers = every[~every.isnan()]
    assert numbers.isinf().sum() == 2
    for seed in range(3):
        found = round_stochastically(numbers.float(), generator(seed))
        assert torch.equal(found.view(torch.int16), numbers.view(torch.int16))  # the sign of 0, too


def test_what_is_no_number_stays_none_and_what_is_too_large_is_rounded_to_nearest() -> None:
    bits = torch.tensor([0x7FC00000, 0x7FFFFFFF, 0x7F800001, -1], dtype=torch.int32)
    largest = torch.finfo(torch.float32).max
    for seed in range(20):
        assert round_stochastically(bits.view(torch.float32), generator(seed)).isnan().all()
        beyond = round_stochastically(torch.tensor([largest, -largest, 3.39e38]), generator(seed))
        assert beyond.tolist() == [math.inf, -math.inf, float(torch.finfo(torch.bfloat16).max)]


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 7), (2, 3, 5)])
def test_any_shape_and_layout(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=generator())
    found = round_stochastically(values, generator(1))
    assert (found.shape, found.dtype) == (values.shape, torch.bfloat16)
    turned = round_stochastically(values.T.contiguous().T if len(shape) == 2 else values, generator(1))
    assert torch.equal(found, turned)
    within = (found.double() - values.double()).abs() <= 2.0**-7 * values.double().abs()
    assert bool(within.all())


def test_draws_are_the_generators_and_independent_from_value_to_value() -> None:
    half = torch.full((40_001,), 1 + 2.0**-8)  # half way between two numbers
    one, again, other = (round_stochastically(half, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    up = (one > 1).double() - 0.5

    def correlation(a: Tensor, b: Tensor) -> float:
        return float((a * b).mean()) / 0.25

    for lag in (1, 2, 3, 4, 8):
        assert abs(correlation(up[:-lag], up[lag:])) < 5 / math.sqrt(40_000)
    assert abs(correlation(up, (other > 1).double() - 0.5)) < 5 / math.sqrt(40_000)
