"""Random noise on the weights."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from expunge.core.order import random_seed
from expunge.kinds.classifier.attacks.attack import Side
from expunge.kinds.classifier.attacks.weights import Change, OfWeights

SHARES = (0.02, 0.05, 0.1)
"standard deviations of the noise, as shares of each matrix's own"


class Noise(OfWeights):
    """Gaussian noise on the weights."""

    name = "noise"
    title = "Weight noise"
    sentence = "Random noise is added to the weights, in proportion to their spread."
    order = 60
    settings = tuple(f"noise of {share:.0%} of the weights' standard deviation" for share in SHARES)

    def changes(self, side: Side) -> Iterator[tuple[str, Change]]:
        for words, share in zip(self.settings, SHARES, strict=True):
            generator = torch.Generator().manual_seed(random_seed(side.seed, "noise"))
            yield words, partial(noisy, share, generator)


def noisy(share: float, generator: torch.Generator, weight: Tensor) -> Tensor:
    """The weight with Gaussian noise, whose standard deviation is a share of the weight's own."""
    return weight + share * weight.std() * torch.randn(weight.shape, generator=generator).to(weight)
