"""Device and precision."""

from __future__ import annotations

import pytest
import torch

from expunge.train import precision
from expunge.train.precision import Precision


@pytest.mark.parametrize("wanted", [True, False])
def test_bfloat16_is_the_type_of_products_and_of_nothing_else(wanted: bool) -> None:
    chosen = Precision(wanted)
    a, b = torch.ones(4, 4), torch.ones(4, 4)
    with chosen.autocast():
        assert (a @ b).dtype == (torch.bfloat16 if wanted else torch.float32)
    assert a.dtype == torch.float32


@pytest.mark.parametrize("fast", [True, False])
def test_auto_asks_the_machine(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_fast_bf16", lambda device: fast)
    assert Precision("auto").bf16 is fast
    assert Precision(not fast).bf16 is (not fast)
