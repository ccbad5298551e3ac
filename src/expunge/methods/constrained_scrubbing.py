from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from expunge.kinds.generator.picture_noise import NoiseKind
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.methods.encoder_training import FeatureTraining
from expunge.ops.feature_losses import Distance


class ConstrainedScrubbing(FeatureTraining):
    r"""Encoder scrubbing under a bound on the forget loss (after Feng et al. 2025, arXiv:2408.01689).

    $$\min_\theta \ell_R(\theta) \quad \text{subject to} \quad \ell_F(\theta) \le \varepsilon$$

    $$d = \nabla \ell_R + \lambda \nabla \ell_F, \qquad
      \lambda = \max\left(0, \frac{\psi - \langle \nabla \ell_R, \nabla \ell_F \rangle}{\|\nabla \ell_F\|^2}\right),
      \qquad \psi = \beta \, \|\nabla \ell_F\|^2 \, \frac{\ell_F(\theta) - \varepsilon}{\ell_F(\theta_0)}$$

    with the losses of encoder scrubbing, so that no weight between them has to be chosen. d is the direction nearest to
    the retain loss's own gradient along which the forget loss falls at least as fast as the control function psi
    demands: the further above the bound, the faster; at the bound, not at all (compare the dynamic barrier of Gong, Liu
    and Liu 2021, NeurIPS 34). Each bound gives a point of the Pareto front. The paper's two phases, which find the ends
    of the range of bounds and then walk along it, are runs with several bounds here.
    """

    epsilon: Annotated[float, Field(ge=0)] = 0.1
    "the bound on the forget loss, as a share of its initial value"
    beta: PositiveFloat = 2.0
    "how fast the forget loss has to fall towards the bound: at first, beta times as fast as by its own gradient"
    noise: NoiseKind = "normal"
    "kind of noise whose features are the forget set's target"
    distance: Distance = "squared"
    "how far features are apart, as in encoder scrubbing"

    def apply(self, work: GeneratorWork) -> None:
        retain_set, forget_set = self.sides(work)
        task, weights, apart = work.task, work.encoder(), self.apart(work, self.distance)
        retain_set, forget_set = work.scrubbing_targets(retain_set, forget_set, self.noise)
        once = torch.arange(
            min(len(forget_set), len(work.forget) * self.views)
        )  # further views say the same on average
        first = work.original_scrubbing_loss(forget_set.take(once), self.noise, apart)

        def loss(retain: CorruptedBatch, forget: CorruptedBatch) -> Tensor:
            # a pass each, since each has its own backward pass
            stays = apart(task.batch_features(retain), work.target_of(retain))
            goes = apart(task.batch_features(forget), work.target_of(forget, self.noise))
            keep, lose = (torch.autograd.grad(value, weights) for value in (stays, goes))
            direction = projected(keep, lose, self.beta * (float(goes.detach()) / first - self.epsilon))
            along = sum((weight * part).sum() for weight, part in zip(weights, direction, strict=True))
            assert isinstance(along, torch.Tensor)
            return along - along.detach() + stays.detach() + goes.detach()  # value: the sum of both losses; gradient: d

        self.train(work, loss, retain_set, forget_set, share=work.encoder_share)


def projected(keep: Sequence[Tensor], lose: Sequence[Tensor], fall: float) -> list[Tensor]:
    """The vector nearest to `keep` whose product with `lose` is at least `fall` times the square of `lose`.

    Args:
        keep, lose: gradients, tensor by tensor of the weights.
    """
    inner = sum(float((a * b).sum()) for a, b in zip(keep, lose, strict=True))
    norm = sum(float((b * b).sum()) for b in lose)
    weight = max(0.0, fall - inner / norm) if norm > 0 else 0.0
    return [a + weight * b for a, b in zip(keep, lose, strict=True)]
