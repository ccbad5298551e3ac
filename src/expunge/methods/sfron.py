from __future__ import annotations

import math
from collections.abc import Callable

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch, Pictures
from expunge.methods.image_method import ImageMethod
from expunge.train.callback import Hooks
from expunge.train.phase import Phase

TINY = 1e-15
"keeps quotients of two zeros at 1, as in the authors' code"


class Sfron(ImageMethod):
    r"""SFR-on, saliency forgetting in the remain-preserving manifold (Huang et al. 2024, arXiv:2409.19732, section 4).

    $$L_F = -\alpha_t \sum_{i \in F} \frac{\ell_i^{-\lambda}}{\sum_{j \in F} \ell_j^{-\lambda}} \, \ell_i, \quad
      \ell_i = -\log p_\theta(y_i \mid x_i), \quad
      \alpha_t = \alpha \, \tfrac{1}{2} \left(1 + \cos \tfrac{\pi t}{T}\right)$$

    $$m = \mathbf{1}\left[\frac{I_F}{I_R} \ge \gamma\right], \quad
      I_S = \mathbb{E}_{B \subset S} \left(\nabla_\theta \, \overline{\ell_B}\right)^2 \text{ at } \theta_0$$

    One step up on the forget set along m * gradient of L_F, its length limited, then some steps down on the retain set,
    alternating, with one optimizer. The weights of L_F (without gradient) spare pictures that are already forgotten;
    the mask selects weights that matter more for the forget set than for the retain set. Batches are redrawn each
    round.
    """

    alpha: PositiveFloat = 25.0
    "strength of the ascent at the start; 25 in the authors' code for a tenth of CIFAR-10"
    adaptivity: NonNegativeFloat = 0.5
    "lambda: how much less pictures of high loss count; 0.5 in the authors' code"
    threshold: NonNegativeFloat = 1.0
    "gamma: 1 in the authors' code; 0 masks nothing"
    forget_every: PositiveInt = 5
    "retain steps a forget step; 5 in the authors' code"
    max_norm: PositiveFloat = 7.0
    "longest gradient of a forget step; 7 in the authors' code"
    steps: PositiveInt = 1500
    "T: retain steps in all; 1500 in the authors' code"
    learning_rate: PositiveFloat = 0.01
    "of SGD with momentum 0.9 at the start, falling along a cosine; 0.01 in the authors' code"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the authors' code"
    batch_size: PositiveInt = 64
    "pictures in a batch, of the Fisher information too; 64, as the challenge's original"

    def apply(self, work: Work) -> None:
        parameters = work.trainable()
        masks = self.masks(work)

        def limit() -> None:
            for parameter, mask in zip(parameters, masks, strict=True):
                if parameter.grad is not None:
                    parameter.grad *= mask
            torch.nn.utils.clip_grad_norm_(parameters, self.max_norm)

        def ascent(strength: float) -> Callable[[ImageBatch], Tensor]:
            def loss(batch: ImageBatch) -> Tensor:
                return -strength * self.adapted(work.cross_entropy(batch, reduction="none"))

            return loss

        def phase(name: str, steps: int, part: tuple[float, float]) -> Phase:
            return self.phase(name, steps=steps, schedule="cosine", part=part, continues="sfron")

        for number, first in enumerate(range(0, self.steps, self.forget_every), 1):
            count = min(self.forget_every, self.steps - first)
            begin, end = first / self.steps, (first + count) / self.steps
            strength = self.alpha * (1 + math.cos(math.pi * begin)) / 2
            climb = phase(f"forget {number}", 1, (begin, begin))
            work.train(climb, work.forget, ascent(strength), callbacks=[Hooks(on_backward=limit)])
            work.train(phase(f"retain {number}", count, (begin, end)), work.retain, work.cross_entropy)

    def adapted(self, losses: Tensor) -> Tensor:
        """Mean of `losses` (n,), each weighed by its power -lambda; the weights have no gradient."""
        weights = 1 / (losses.detach() ** self.adaptivity + TINY)
        return (weights / weights.sum() * losses).sum()

    def masks(self, work: Work) -> list[Tensor]:
        """Of each parameter: whether an element matters for the forget set `threshold` times as much as for the
        other."""
        forget, retain = self._information(work, work.forget), self._information(work, work.retain)
        return [
            (of_forget + TINY) / (of_retain + TINY) >= self.threshold
            for of_forget, of_retain in zip(forget, retain, strict=True)
        ]

    def _information(self, work: Work, pictures: Pictures) -> list[Tensor]:
        total = [torch.zeros_like(parameter) for parameter in work.trainable()]
        count = 0
        for gradients in work.gradients(pictures, work.cross_entropy, batch_size=self.batch_size):
            count += 1
            for sum_, gradient in zip(total, gradients, strict=True):
                sum_ += gradient**2
        return [sum_ / count for sum_ in total]
