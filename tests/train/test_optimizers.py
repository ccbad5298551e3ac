"""Optimizers of the loop: moments in 8 bits beside float32 ones, and what a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from expunge.core.order import Order
from expunge.train.checkpoint import Checkpoints
from expunge.train.loop import Stream, train
from expunge.train.phase import Phase

INPUTS = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
WANTED = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))


def trained(optimizer: Any, folder: Path | None = None, stop_step: int | None = None) -> Tensor:
    """The weight of a layer after some steps, from its checkpoint on."""
    torch.manual_seed(2)
    layer = nn.Linear(128, 64)

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
        for at in own:
            yield torch.tensor(rows[at]), len(rows[at])

    def loss(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return (layer(INPUTS[rows]) - WANTED[rows]).square().mean(), {}

    phase = Phase(name="x", learning_rate=1e-3, steps=8, stop_step=stop_step, optimizer=optimizer, save_every=1)
    train(layer, loss, phase, [Stream(Order(32, 8, 0, "x"), load)], checkpoints=Checkpoints(folder, 0.0))
    return layer.weight.detach()


def test_moments_in_8_bits_lead_nearly_where_wide_ones_lead() -> None:
    torch.manual_seed(2)
    begun = nn.Linear(128, 64).weight.detach()
    wide, narrow = trained("adamw"), trained("adamw_8bit")
    assert not torch.equal(wide, narrow)
    assert float((narrow - wide).norm()) < 0.1 * float((wide - begun).norm())


def test_they_resume_with_the_same_bits(tmp_path: Path) -> None:
    trained("adamw_8bit", tmp_path, stop_step=5)
    resumed = Checkpoints(tmp_path, 0.0)._resumed
    assert resumed is not None
    assert resumed.tensors["optimizer/state1/weight"].dtype == torch.uint8
    assert torch.equal(trained("adamw_8bit", tmp_path), trained("adamw_8bit"))
