"""Small weights set to 0."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from torch import Tensor

from expunge.kinds.classifier.attacks.attack import Side
from expunge.kinds.classifier.attacks.weights import Change, OfWeights
from expunge.ops.masks import smallest

SHARES = (0.1, 0.2, 0.3)
"of each matrix's weights"


class Pruning(OfWeights):
    """The smallest weights set to 0 (Jia et al. 2023, arXiv:2304.04934, use it to unlearn; here it is an attack)."""

    name = "prune"
    title = "Pruning"
    sentence = "The smallest weights of each layer are set to 0, as they are to make models faster."
    order = 61
    settings = tuple(f"{share:.0%} of the weights" for share in SHARES)

    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        return [(words, partial(pruned, share)) for words, share in zip(self.settings, SHARES, strict=True)]


def pruned(share: float, weight: Tensor) -> Tensor:
    """The weight without the smallest share of its values."""
    return weight.masked_fill(smallest(weight, share), 0.0)
