from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch, Pictures
from expunge.methods.image_method import ImageMethod
from expunge.ops.masks import quantile


class SSD(ImageMethod):
    r"""Selective synaptic dampening (Foster et al. 2024, arXiv:2308.07707, equations 4 to 6).

    $$I_S = \frac{1}{|\mathcal{B}_S|} \sum_{B \in \mathcal{B}_S} \left(\nabla_\theta\, \mathrm{CE}_B\right)^2, \qquad
      \theta_i \leftarrow \min\left(\lambda \frac{I_{D,i}}{I_{F,i}}, 1\right) \theta_i
      \;\text{where } I_{F,i} > \alpha \, I_{D,i}$$

    Weights that matter much more for the forget set than for all training pictures D are made smaller. Nothing is
    trained.

    Without labels (Foster et al. 2024, arXiv:2402.19308) the importance is how far a weight moves the outputs:

    $$I_S = \frac{1}{|\mathcal{B}_S|} \sum_{B \in \mathcal{B}_S}
      \left|\nabla_\theta\, \frac{1}{|B|} \sum_{x \in B} \lVert f_\theta(x) \rVert_2^2 \right|$$

    With an adaptive alpha (Schoepf et al. 2024, arXiv:2402.10098) the size of the forget set decides how many weights
    are chosen:

    $$\alpha = \text{percentile}_{q}\left(I_F / I_D\right), \qquad q = 100 - \ln\left(1 + 100 \, |F| / |D|\right)$$
    """

    importance: Literal["loss", "outputs"] = "loss"
    "importance of a weight: by the gradient of the loss, or (without labels) of the outputs' length"
    alpha: PositiveFloat = 10.0
    "how many times more important for the forget set a chosen weight is; 10 in the paper"
    adaptive: bool = False
    "choose alpha by the size of the forget set, instead of `alpha`"
    dampening: PositiveFloat = 1.0
    "lambda; 1 in the paper"
    batch_size: PositiveInt = 128
    """pictures whose gradients are averaged before they are squared; 128 in the authors' code, 64 in a script for
    transformers"""

    def apply(self, work: Work) -> None:
        whole = self.importances(work, work.retain.joined(work.forget), "all")
        forget = self.importances(work, work.forget, "forget")
        alpha = self.alpha
        if self.adaptive:
            alpha = adaptive_alpha(whole, forget, len(work.forget) / (len(work.retain) + len(work.forget)))
        with torch.no_grad():
            for parameter, usual, special in zip(work.trainable(), whole, forget, strict=True):
                parameter.mul_(damping(usual, special, alpha, self.dampening))

    def importances(self, work: Work, pictures: Pictures, name: str) -> list[Tensor]:
        """Importance of every trainable tensor's weights, in evaluation mode."""

        def length(batch: ImageBatch) -> Tensor:
            return work.task.logits_of(batch.pixels).square().sum(-1).mean()

        by_loss = self.importance == "loss"
        total = [torch.zeros_like(parameter) for parameter in work.trainable()]
        count = 0
        loss = work.cross_entropy if by_loss else length
        for gradients in work.gradients(pictures, loss, batch_size=self.batch_size, name=name):
            count += 1
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_ += gradient.square() if by_loss else gradient.abs()
        return [sum_ / count for sum_ in total]


def damping(usual: Tensor, special: Tensor, alpha: float, dampening: float) -> Tensor:
    """Factor of each weight: 1 if it is not chosen, and never more."""
    factor = (dampening * usual / special).clamp(max=1)
    return torch.where(special > alpha * usual, factor, torch.ones_like(factor))


def adaptive_alpha(whole: list[Tensor], forget: list[Tensor], forget_share: float) -> float:
    """The percentile of the ratios of importance, over all weights that have one."""
    ratios = torch.cat([(special / usual).flatten() for usual, special in zip(whole, forget, strict=True)])
    ratios = ratios[ratios.isfinite()]
    return quantile(ratios, 1 - math.log1p(100 * forget_share) / 100)
