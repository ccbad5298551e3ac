from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.relabelling import wrong_labels
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.train.callback import Hooks


class Salun(ImageMethod):
    r"""SalUn, saliency unlearning (Fan et al. 2023, arXiv:2310.12508, equations 3 to 5).

    $$m = \mathbf{1}\left[\left|\nabla_\theta \tfrac{1}{|F|} \textstyle\sum_F \log p_{\theta_0}(y \mid x)\right|
          \ge \gamma\right], \quad \theta = m \odot \theta + (1 - m) \odot \theta_0$$

    $$L = \frac{1}{|F| + |R|} \left( \sum_{(x, y) \in F} -\log p_\theta(y' \mid x)
          + \alpha \sum_{(x, y) \in R} -\log p_\theta(y \mid x) \right), \quad y' \ne y$$

    Random labels on the weights that matter most for the forget set; all others are restored exactly after every step,
    since momentum and weight decay would move them too. The threshold is the quantile that leaves `share` of all
    weights. Both sets are mixed in a batch, as the authors' code does for CIFAR-100; for CIFAR-10 it first goes over
    the forget set's batches in each epoch, then over the retain set's. Labels are drawn once, from the wrong ones, as
    the formula says; the authors' code redraws them every epoch, the true one among them.
    """

    share: float = Field(default=0.5, gt=0, le=1)
    "part of all weights that is trained; 0.5 in the paper"
    alpha: NonNegativeFloat = 1.0
    "weight of the retain set; 1 in the authors' code"
    epochs: PositiveFloat = 10
    "passes over both sets; 10 in the paper"
    learning_rate: PositiveFloat = 0.013
    "of SGD with momentum 0.9; 0.013 in the authors' code"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the authors' code"
    batch_size: PositiveInt = 64
    "pictures in a batch; 256 in the authors' code"

    def apply(self, work: Work) -> None:
        masks = salient(self._gradient(work), self.share)
        frozen = [(p, mask, p.detach().clone()) for p, mask in zip(work.trainable(), masks, strict=True)]
        labels = wrong_labels(work.forget.labels, work.classes, work.generator("labels"))
        pictures = replace(work.forget, labels=labels).joined(work.retain)
        weights = torch.tensor([1.0] * len(work.forget) + [self.alpha] * len(work.retain), dtype=torch.float64)

        def loss(batch: ImageBatch) -> Tensor:
            losses = work.cross_entropy(batch, reduction="none")
            return (weights[batch.rows].to(losses) * losses).mean()

        def put_back() -> None:
            for parameter, mask, before in frozen:
                parameter.copy_(torch.where(mask, parameter, before))

        phase = self.phase("relearning")
        work.train(phase, pictures, loss, callbacks=[Hooks(on_step=put_back)])

    def _gradient(self, work: Work) -> list[Tensor]:
        """Gradient of the summed loss over the forget set, in the order of `trainable()`."""
        total = [torch.zeros_like(parameter) for parameter in work.trainable()]
        summed = partial(work.cross_entropy, reduction="sum")
        for found in work.gradients(work.forget, summed, batch_size=self.batch_size):
            for sum_, gradient in zip(total, found, strict=True):
                sum_ += gradient
        return total


def salient(gradients: list[Tensor], share: float) -> list[Tensor]:
    """Masks of the `share` of all elements with the largest sizes; the first of equals."""
    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
    count = round(share * len(sizes))
    mask = torch.zeros_like(sizes, dtype=torch.bool)
    mask[sizes.argsort(descending=True, stable=True)[:count]] = True
    parts = mask.split([gradient.numel() for gradient in gradients])
    return [part.view_as(gradient) for part, gradient in zip(parts, gradients, strict=True)]
