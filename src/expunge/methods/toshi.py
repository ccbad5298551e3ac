"""Toshi and marvelworld's method of the 2023 challenge."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.methods.base import Method, Needs
from expunge.tasks.layers import leaves
from expunge.tasks.phase import Phase, cosine

if TYPE_CHECKING:
    from expunge.engine.work import Work


@torch.no_grad()
def transpose(model: nn.Module) -> None:
    """Turn height into width in every square kernel of a convolution."""
    for _, module in leaves(model, nn.Conv2d):
        weight = module.weight
        assert isinstance(weight, Tensor)
        if weight.shape[2] == weight.shape[3]:
            weight.copy_(weight.transpose(2, 3).clone())


class Toshi(Method):
    r"""Toshi and marvelworld's fifth prize of the NeurIPS 2023 challenge, transposed kernels (notebook; arXiv:2410.01276).

    $$\text{erase:}\quad W_{o,i,h,w} \leftarrow W_{o,i,w,h} \;\text{in every convolution}$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]$$

    The erasing draws nothing: models differ by the order of pictures in the repair alone. In the contest about half of the
    512 models were made so, the others by training on labels guessed for the forget set, which is not part of this
    method. Kernels that are not square stay as they are.
    """

    epochs: PositiveInt = 3
    "epochs of repair; 3 in the notebook"
    learning_rate: PositiveFloat = 1e-3
    "of SGD with momentum 0.9, falling by epoch with a cosine; 0.001 in the notebook"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the challenge"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        transpose(work.model)
        repair = Phase(
            name="repair", learning_rate=self.learning_rate, weight_decay=self.weight_decay, batch_size=self.batch_size
        )
        for phase in repair.by_epoch(cosine(self.learning_rate, self.epochs)):
            work.train(phase, work.retain, work.cross_entropy)
