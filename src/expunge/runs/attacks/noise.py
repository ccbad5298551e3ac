"""Random noise on the weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.runs.attacks.weights import Change, OfWeights, WeightSide

SHARES = (0.02, 0.05, 0.1)
"standard deviations of the noise, as shares of each matrix's own"


class Noise(OfWeights):
    """Gaussian noise on the weights."""

    name = "noise"
    title = "Weight noise"
    sentence = "Random noise is added to the weights, in proportion to their spread."
    order = 60
    version = 2

    def settings(self, side: WeightSide) -> list[str]:
        return [f"noise of {share:.0%} of the weights' standard deviation" for share in SHARES]

    def changes(self, task: Any, side: WeightSide) -> Iterator[Change]:
        for share in SHARES:
            generator = torch.Generator().manual_seed(random_seed(side.seed, "noise"))
            yield partial(noisy, share, generator)


def noisy(share: float, generator: torch.Generator, _name: str, weight: Tensor) -> Tensor:
    """The weight with Gaussian noise, whose standard deviation is a share of the weight's own."""
    return weight + share * weight.std() * torch.randn(weight.shape, generator=generator).to(weight)
