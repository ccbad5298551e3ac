from __future__ import annotations

import copy
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import head, reset
from expunge.runs.method import Needs
from expunge.train.phase import again


class ShrinkPerturb(ImageMethod):
    r"""Shrink and perturb (Ash and Adams 2020, arXiv:1910.08475, made for warm starts), used here to forget.

    $$\text{erase:}\quad \theta \leftarrow \lambda \, \theta_0 + \mu \, \theta_{\text{fresh}}$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]
      \;\text{as the original was trained, in fewer epochs}$$

    $$\text{match:}\quad f_\theta \leftarrow c f_\theta, \qquad
      c^2 = s^2 \sum_{x \in V} \left\|f_{\theta_0}(x) - \bar f_{\theta_0}(x)\right\|^2 \Big/
      \sum_{x \in V} \left\|f_\theta(x) - \bar f_\theta(x)\right\|^2$$

    The weights are mixed with those of a freshly initialised network: enough that single pictures are lost, and little
    enough that the retain set is learned again in a fifth of the time. Every run draws another network, so that
    unlearned models differ about as much as retrained ones do. A model trained for a short time is less sure of itself
    on new pictures than one trained for long, which alone tells the two apart; so the logits f (their mean over classes
    taken off) are brought to s times the size that the original's have on held-back pictures V, which neither was
    trained on. That changes no prediction. What unlearned models share with the original makes them a little more alike
    than retrained ones; a sharpness s above 1 makes up for it. Weights of normalisation and biases become lambda
    theta_0 + (1 - lambda) theta_fresh, running statistics are reset.

    The paper is not about forgetting; this use, and the matching, are Expunge's own. The forget set is not used.
    How much of it is left depends on mu, which must be tried on a split of its own: the mixture keeps what the
    original's weights contain of it, only weaker. The matching hides a difference of confidence and removes nothing
    from the weights.
    """

    shrink: Annotated[float, Field(ge=0, le=1)] = 0.8
    "lambda: share of the original's weights that stays"
    fresh: NonNegativeFloat = 0.45
    "mu: how much of a new network's random weights is added"
    epochs: PositiveFloat = 5.9
    "passes over the retain set"
    learning_rate: PositiveFloat | None = None
    "highest learning rate; default: the original's"
    batch_size: PositiveInt | None = None
    "pictures in a batch; default: the original's"
    warmup: Annotated[float, Field(ge=0, le=1)] = 0.3
    "share of the steps over which the rate rises: at once at its highest, it would undo more of the retain set"
    class_weights: bool = False
    "weigh classes as the original's training did"
    sharpness: NonNegativeFloat = 1.15
    "s: size of the logits on held-back pictures relative to the original's; 0 leaves them as the repair made them"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", validation=True, kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        repair = again(work.training, "repair", self.epochs, self.learning_rate, self.batch_size)
        repair = replace(repair, warmup=self.warmup)
        original = (
            work.original_outputs(work.validation) if self.sharpness > 0 and work.validation is not None else None
        )
        self.mix(work)
        work.train(repair, work.retain, work.weighted_cross_entropy if self.class_weights else work.cross_entropy)
        if original is not None and work.validation is not None:
            wanted, found = spread(original), spread(work.outputs(work.validation))
            if found > 0:
                enlarge(work, self.sharpness * float(wanted / found))

    @torch.no_grad()
    def mix(self, work: Work) -> None:
        """Mix the weights with those of a new network; running statistics become the new one's."""
        twin = copy.deepcopy(work.model)
        reset([twin], work.generator("fresh"))
        for weight, new in zip(work.model.parameters(), twin.parameters(), strict=True):
            if weight.requires_grad:
                weight.mul_(self.shrink).add_(new, alpha=self.fresh if weight.ndim > 1 else 1 - self.shrink)
        for figure, begun in zip(work.model.buffers(), twin.buffers(), strict=True):
            figure.copy_(begun)


def spread(logits: Tensor) -> Tensor:
    """Root mean square of logits (rows, classes) around each row's mean; scalar."""
    return (logits - logits.mean(-1, keepdim=True)).square().mean().sqrt()


@torch.no_grad()
def enlarge(work: Work, factor: float) -> None:
    """Multiply all logits by multiplying the head."""
    for parameter in head(work.model).parameters(recurse=False):
        parameter.mul_(factor)
