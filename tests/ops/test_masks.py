"""Masks of the smallest values, and quantiles of many."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from expunge.ops.masks import quantile, smallest


def test_smallest_by_hand() -> None:
    values = torch.tensor([[3.0, -0.5, 2.0], [-4.0, 0.1, -1.0]])
    assert smallest(values, 0.5).tolist() == [[False, True, False], [False, True, True]]
    assert not smallest(values, 0).any()
    assert smallest(values, 1).all()
    assert smallest(values, 0.4).sum() == round(0.4 * 6) == 2


def test_quantile_is_that_of_numpy() -> None:
    values = torch.randn(1001, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for share in (0, 0.013, 0.5, 0.98765, 1):
        assert quantile(values, share) == pytest.approx(np.quantile(values.numpy(), share), rel=1e-12)
    assert quantile(torch.tensor([7.0]), 0.3) == 7.0
