"""How different two pictures look to a network, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-10
"length below which features count as none"


def perceptual_distances(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    r"""(n,) distances of n pictures from n others by the features that one network has of them in some of its layers.

    $$ d(x, x') = \sum_l \frac{1}{P_l} \sum_p \left\| \hat{y}_{l,p} - \hat{y}'_{l,p} \right\|_2^2 $$

    with $\hat{y}_{l,p}$ the features of layer l at place p, over the channels scaled to length 1, and P_l the places. It is
    equation 1 of Zhang et al. 2018 (arXiv:1801.03924) with all weights w_l = 1, which that paper calls the network's own,
    uncalibrated distance. So it is no LPIPS, whose weights were fitted to what people find alike; nor do distances by
    different networks compare. 0 for equal features, at most 4 a layer; where one has no features and the other has, 1.

    Args:
        ours: (n, channels, places) of each layer; `theirs` the same of the other pictures.
    """
    total = torch.zeros(len(ours[0]), dtype=ours[0].dtype, device=ours[0].device)
    for a, b in zip(ours, theirs, strict=True):
        difference = F.normalize(a, dim=1, eps=EPSILON) - F.normalize(b, dim=1, eps=EPSILON)
        total = total + difference.square().sum(1).mean(1)
    return total
