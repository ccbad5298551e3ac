"""Small weights set to 0."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from expunge.ops.masks import smallest
from expunge.runs.attacks.weights import Change, OfWeights, WeightSide

SHARES = (0.1, 0.2, 0.3)
"of each matrix's weights"


class Pruning(OfWeights):
    """The smallest weights set to 0 (Jia et al. 2023, arXiv:2304.04934, use it to unlearn; here it is an attack)."""

    name = "prune"
    title = "Pruning"
    sentence = "The smallest weights of each matrix are set to 0, as they are to make models faster."
    order = 61
    version = 2

    def settings(self, side: WeightSide) -> list[str]:
        return [f"{share:.0%} of the weights" for share in SHARES]

    def changes(self, task: Any, side: WeightSide) -> list[Change]:
        return [partial(pruned, share) for share in SHARES]


def pruned(share: float, _name: str, weight: Tensor) -> Tensor:
    """The weight without the smallest share of its values."""
    return weight.masked_fill(smallest(weight, share), 0.0)
