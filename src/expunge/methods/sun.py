from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import head, leaves, reset
from expunge.runs.method import Needs


class Sun(ImageMethod):
    r"""Sun Jiaxi's seventh prize of the NeurIPS 2023 challenge, noise in layers picked at random
    (notebook; arXiv:2406.09073).

    $$\text{erase, an epoch each:}\quad \theta_k \leftarrow \theta_k + \mathcal{N}\left(0, \sigma^2\right)
      \;\text{for } k \in N_e \subset S_e, \qquad
      \min_{\theta_{S_e}} \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]$$

    Each epoch e picks weight tensors S_e at random; only they, and all normalisation, are trained in it. Noise goes to
    a part N_e of them, but to no tensor that was picked in an epoch before. In the first epochs the reinitialised head
    takes the place of noise. Every epoch has an optimizer of its own; the repair trains everything.
    """

    reset_epochs: NonNegativeInt = 1
    "epochs without noise after the head was reinitialised; 1 in the notebook"
    noise_epochs: NonNegativeInt = 4
    "epochs with noise; 4 in the notebook"
    picked: PositiveInt = 9
    "tensors of weights picked an epoch; 9 in the notebook, of 28 of a ResNet-18; of 22 here, without normalisation"
    noise: NonNegativeFloat = 0.04
    "sigma: standard deviation of the noise; 0.04 in the notebook"
    noise_share: Annotated[float, Field(ge=0, le=1)] = 0.7
    "share of the picked tensors that get noise, rounded down; 0.7 in the notebook"
    learning_rate: PositiveFloat = 2e-4
    "of SGD with momentum 0.9 while erasing; 2e-4 in the notebook"
    epochs: NonNegativeInt = 4
    "epochs of repair; 4 in the notebook"
    repair_learning_rates: tuple[PositiveFloat, ...] = Field(default=(2e-4, 2e-4, 2e-4, 1e-3, 1e-3, 1e-4), min_length=1)
    "of each epoch of repair, the last one for all that follow; as in the notebook, which gets as far as the fourth"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the challenge"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        always, others = parts(work.model)
        reset([head(work.model)], work.generator("reset"))
        seen: set[int] = set()
        for epoch in range(self.reset_epochs + self.noise_epochs):
            generator = work.generator("pick", epoch)
            places = torch.randperm(len(others), generator=generator)[: self.picked].tolist()
            if epoch >= self.reset_epochs:
                some = places[: int(self.noise_share * len(places))]
                self.disturb([others[at] for at in some if at not in seen], generator)
            seen.update(places)
            phase = self.phase(f"erase {epoch + 1}", epochs=1)
            work.train(phase, work.retain, work.cross_entropy, parameters=[*(others[at] for at in places), *always])
        for epoch in range(self.epochs):
            rate = self.repair_learning_rates[min(epoch, len(self.repair_learning_rates) - 1)]
            phase = self.phase(f"repair {epoch + 1}", epochs=1, learning_rate=rate)
            work.train(phase, work.retain, work.cross_entropy)

    @torch.no_grad()
    def disturb(self, parameters: list[nn.Parameter], generator: torch.Generator) -> None:
        for parameter in parameters:
            drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
            parameter.add_(self.noise * drawn.to(parameter.device))


def parts(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable tensors of normalisation layers, and all others."""
    norms = leaves(model, _NormBase, nn.LayerNorm, nn.GroupNorm)
    own = {id(parameter) for _, module in norms for parameter in module.parameters(recurse=False)}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [p for p in trainable if id(p) in own], [p for p in trainable if id(p) not in own]
