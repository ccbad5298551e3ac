"""Optimizers of the loop: moments in 8 bits beside float32 ones, and what a checkpoint keeps of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from expunge.core.order import Order
from expunge.train.checkpoint import Checkpoints
from expunge.train.loop import Stream, train
from expunge.train.phase import Phase
from expunge.train.rounded import PIECE, RoundedAdamW, adamw_in_8_bits

INPUTS = torch.randn(32, 128, generator=torch.Generator().manual_seed(0))
WANTED = torch.randn(32, 64, generator=torch.Generator().manual_seed(1))


def trained(
    optimizer: Any,
    folder: Path | None = None,
    stop_step: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The weight of a layer after some steps, from its checkpoint on."""
    torch.manual_seed(2)
    layer = nn.Linear(128, 64).bfloat16().to(dtype)

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
        for at in own:
            yield torch.tensor(rows[at]), len(rows[at])

    def loss(rows: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        torch.randn(int(rows[0]) + 1)  # what a step draws has no say in how it is rounded
        outputs = INPUTS[rows] @ layer.weight.float().T + layer.bias.float()
        return (outputs - WANTED[rows]).square().mean(), {}

    phase = Phase(name="x", learning_rate=1e-3, steps=8, stop_step=stop_step, optimizer=optimizer, save_every=1)
    train(layer, loss, phase, [Stream(Order(32, 8, 0, "x"), load)], checkpoints=Checkpoints(folder, 0.0))
    return layer.weight.detach()


def test_moments_in_8_bits_lead_nearly_where_wide_ones_lead() -> None:
    torch.manual_seed(2)
    begun = nn.Linear(128, 64).weight.detach().bfloat16().float()
    wide, narrow = trained("adamw"), trained("adamw_8bit")
    assert not torch.equal(wide, narrow)
    assert float((narrow - wide).norm()) < 0.1 * float((wide - begun).norm())


def test_they_resume_with_the_same_bits(tmp_path: Path) -> None:
    trained("adamw_8bit", tmp_path, stop_step=5)
    resumed = Checkpoints(tmp_path, 0.0)._resumed
    assert resumed is not None
    assert resumed.tensors["optimizer/state1/weight"].dtype == torch.uint8
    assert torch.equal(trained("adamw_8bit", tmp_path), trained("adamw_8bit"))


def test_the_update_against_a_transcription_in_float64() -> None:
    """Algorithm 2 of Loshchilov & Hutter 2019, of float32 weights, which are not rounded; and torch's own AdamW."""
    rate, betas, decay = 3e-3, (0.8, 0.95), 0.1
    begun = torch.randn(PIECE + 77, generator=torch.Generator().manual_seed(0))  # more than one piece
    weights = [nn.Parameter(begun.clone()) for _ in range(2)]
    ours = RoundedAdamW([("w", weights[0])], rate, betas, decay)
    torchs = torch.optim.AdamW([weights[1]], rate, betas, weight_decay=decay)
    w, m, v = begun.double(), torch.zeros(len(begun)).double(), torch.zeros(len(begun)).double()
    for step in range(1, 6):
        gradient = torch.randn(len(begun), generator=torch.Generator().manual_seed(step))
        for weight, optimizer in zip(weights, (ours, torchs), strict=True):
            weight.grad = gradient.clone()
            optimizer.step()
        g = gradient.double()
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g * g
        w = w - rate * (m / (1 - betas[0] ** step) / ((v / (1 - betas[1] ** step)).sqrt() + 1e-8) + decay * w)
    for weight in weights:
        torch.testing.assert_close(weight.detach().double(), w, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_updates_below_half_of_the_last_place_arrive_on_average(optimizer: str) -> None:
    """AdamW's step is the rate, whatever the gradient; the last place of a weight of 1.5 is 2^-7, and 100 steps of 2^-12
    go three of these far. Rounded to nearest, each step is none."""
    size, steps, rate = 1 << 14, 100, 2.0**-12
    weight = nn.Parameter(torch.full((size,), 1.5, dtype=torch.bfloat16))
    if optimizer == "adamw":
        made: torch.optim.Optimizer = RoundedAdamW([("w", weight)], rate)
    else:
        made = adamw_in_8_bits([("w", weight)], 0, lr=rate, betas=(0.9, 0.999), weight_decay=0.0)
    nearest = weight.detach().clone()
    for _ in range(steps):
        weight.grad = torch.ones_like(weight)
        made.step()
        nearest = (nearest.float() - rate).bfloat16()
    assert torch.equal(nearest, torch.full_like(nearest, 1.5))
    moved = 1.5 - weight.detach().double()
    # Each step goes a place down with probability 2^-5: binomial, and so many weights of it.
    error = 2.0**-7 * (steps * 2.0**-5 * (1 - 2.0**-5)) ** 0.5 / size**0.5
    assert abs(float(moved.mean()) - steps * rate) < 5 * error + 0.02 * steps * rate * (optimizer == "adamw_8bit")
    assert 0.8 < float(moved.std()) / (error * size**0.5) < 1.2


@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit"])
def test_weights_in_bfloat16_follow_wide_ones_and_resume_with_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    torch.manual_seed(2)
    begun = nn.Linear(128, 64)
    wide, narrow = trained(optimizer), trained(optimizer, dtype=torch.bfloat16)
    assert (wide.dtype, narrow.dtype) == (torch.float32, torch.bfloat16)
    moved, error = wide - begun.weight.detach().bfloat16().float(), narrow.float() - wide
    # Of each of the 8 updates the rounding is by chance: the error is of the size of a last place, and its mean is none.
    place = 2.0**-10  # of weights below 1/8 at most
    assert float(error.abs().mean()) < place
    assert abs(float((error * moved.sign()).mean())) < 5 * place / error.numel() ** 0.5
    trained(optimizer, tmp_path, stop_step=5, dtype=torch.bfloat16)
    resumed = Checkpoints(tmp_path, 0.0)._resumed
    assert resumed is not None
    assert resumed.tensors["model/weight"].dtype == torch.bfloat16
    moment = resumed.tensors["optimizer/exp_avg/weight" if optimizer == "adamw" else "optimizer/state1/weight"]
    assert moment.dtype == (torch.float32 if optimizer == "adamw" else torch.uint8)
    assert torch.equal(trained(optimizer, tmp_path, dtype=torch.bfloat16), narrow)


def test_rounding_draws_by_seed_name_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def updated(names: tuple[str, str], seed: int, piece: int = PIECE) -> list[Tensor]:
        monkeypatch.setattr("expunge.train.rounded.PIECE", piece)
        weights = [nn.Parameter(torch.ones(2048, dtype=torch.bfloat16)) for _ in names]
        made = RoundedAdamW(list(zip(names, weights, strict=True)), 1e-3, seed=seed)
        found = []
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
            made.step()
            found += [weight.detach().clone() for weight in weights]
        return found

    one = updated(("a", "b"), 0)
    torch.manual_seed(5)
    assert all(torch.equal(x, y) for x, y in zip(one, updated(("a", "b"), 0), strict=True))
    assert torch.equal(updated(("b", "a"), 0)[1], one[0])
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], updated(("a", "b"), 1)[0])
    assert not torch.equal(one[2] - one[0], one[0] - 1)
    small = updated(("a", "b"), 0, 256)[0]
    assert abs(float((small < 1).double().mean() - (one[0] < 1).double().mean())) < 5 * 0.5 / 2048**0.5
