from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import leaves
from expunge.ops.masks import smallest
from expunge.runs.method import Needs


def entropy(logits: Tensor) -> Tensor:
    """(rows,) entropy of the outputs, in nats."""
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


class Sebastian(ImageMethod):
    r"""Sebastian's fourth prize of the NeurIPS 2023 challenge: prune, renew, repair, round (notebook; arXiv:2406.09073).

    $$\text{erase:}\quad \theta_i \leftarrow \mathcal{U}\left(-\tfrac{1}{\sqrt{\text{fan-in}}},
      \tfrac{1}{\sqrt{\text{fan-in}}}\right) \;\text{for the share } s \text{ of smallest } |\theta_i|$$

    $$\text{repair:}\quad \min_\theta \; \frac{\sum_{i \in B} n_{y_i}^{-\kappa} \left(-\log p_\theta(y_i \mid
      x_i)\right)} {\sum_{i \in B} n_{y_i}^{-\kappa}} + \frac{1}{|B|} \sum_{i \in B} \left(H\left(p_\theta(x_i)\right) -
      H\left(p_{\theta_0}(x_i)\right)\right)^2$$

    Weights and biases of all convolutions and linear layers are ranked together; biases that are pruned stay 0. The
    repair keeps the entropy H of each retained picture's output at the original's; n is how often a class occurs. In
    the end weights are rounded to 16 bits. The notebook takes one step more than its epochs say, as it counts past its
    limit.
    """

    pruned_share: Annotated[float, Field(ge=0, le=1)] = 0.99
    "s: share of the weights that are reinitialised; 0.99 in the notebook"
    class_exponent: NonNegativeFloat = 0.1
    "kappa: how much rare classes weigh more; 0.1 in the notebook"
    entropy_weight: NonNegativeFloat = 1.0
    "of the entropy term; 1 in the notebook"
    epochs: PositiveFloat = 3.2
    "epochs of repair; 3.2 in the notebook"
    learning_rate: PositiveFloat = 5e-4
    "of SGD with momentum 0.9; 5e-4 in the notebook"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the challenge"
    half: bool = True
    "round to 16 bits in the end, as in the notebook"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        counts = torch.bincount(work.retain.labels, minlength=work.classes).clamp(min=1)
        weights = counts.to(work.task.device, work.task.dtype) ** -self.class_exponent
        entropies = entropy(work.original_outputs(work.retain))

        def loss(batch: ImageBatch) -> Tensor:
            logits = work.task.logits_of(batch.pixels)
            change = entropy(logits) - entropies[batch.rows]
            return work.cross_entropy(batch, logits, weight=weights) + self.entropy_weight * change.square().mean()

        renew(work.model, self.pruned_share, work.generator("renew"))
        repair = self.phase("repair")
        work.train(repair, work.retain, loss)
        if self.half:
            round_to_half(work.model)


@torch.no_grad()
def renew(model: nn.Module, share: float, generator: torch.Generator) -> None:
    """Reinitialise the smallest weights of all convolutions and linear layers; smallest biases become 0."""
    tensors = [p for _, module in leaves(model, nn.Conv2d, nn.Linear) for p in module.parameters(recurse=False)]
    masks = smallest(torch.cat([p.flatten() for p in tensors]), share).split([p.numel() for p in tensors])
    for parameter, mask in zip(tensors, masks, strict=True):
        fresh = torch.zeros_like(parameter)
        if parameter.ndim > 1:
            bound = 1 / math.sqrt(parameter[0].numel())
            drawn = torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype)
            fresh = (bound * (2 * drawn - 1)).to(parameter.device)
        parameter.copy_(torch.where(mask.view(parameter.shape), fresh, parameter))


@torch.no_grad()
def round_to_half(model: nn.Module) -> None:
    """Round weights and running figures to 16 bits; none becomes infinite."""
    largest = torch.finfo(torch.half).max
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.copy_(value.clamp(-largest, largest).half())
