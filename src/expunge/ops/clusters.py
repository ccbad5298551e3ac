"""Clusters of like points."""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 50
"at most so many times are points assigned"


def k_means(points: Tensor, clusters: int, seed: int) -> Tensor:
    """(n,) number of the cluster of each point: Lloyd's algorithm, begun by k-means++ (Arthur and Vassilvitskii 2007).

    Args:
        points: (n, width), in any units: each column is brought to mean 0 and standard deviation 1.
        clusters: at most n. None is left empty: one that would be takes the point farthest from its own centre.
    """
    points = points.double()
    points = (points - points.mean(0)) / points.std(0, correction=0).clamp(min=1e-12)
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    while len(centres) < clusters:
        weight = torch.cdist(points, centres).amin(1).square()
        drawn = torch.multinomial(weight if weight.sum() > 0 else torch.ones_like(weight), 1, generator=generator)
        centres = torch.cat([centres, points[drawn]])
    number = torch.full((len(points),), -1)
    for _ in range(ROUNDS):
        distance = torch.cdist(points, centres)
        nearest, found = distance.min(1)
        for empty in set(range(clusters)) - set(found.tolist()):
            alone = torch.bincount(found, minlength=clusters)[found] == 1
            taken = nearest.masked_fill(alone, -1).argmax()
            found[taken], nearest[taken] = empty, 0
        if torch.equal(found, number):
            break
        number = found
        centres = torch.stack([points[number == each].mean(0) for each in range(clusters)])
    return number
