from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.divergences import divergence
from expunge.train.session import FORWARD, Passes


def contrast(forget_logits: Tensor, retain_logits: Tensor, temperature: float) -> Tensor:
    """Mean -log softmax over retained pictures of the similarity of a forgotten picture's outputs and theirs; scalar.

    Args:
        forget_logits: (forgotten, classes).
        retain_logits: (retained, classes).
    """
    return -(forget_logits @ retain_logits.T / temperature).log_softmax(-1).mean()


class Fanchuan(ImageMethod):
    r"""Fanchuan's first prize of the NeurIPS 2023 unlearning challenge (its notebook; Triantafillou et al. 2024,
    arXiv:2406.09073).

    $$\text{erase:}\quad \min_\theta \; \mathbb{E}_{F}\, \mathrm{KL}\left(\mathcal{U} \| p_\theta\right)$$

    $$\text{repair, in turns:}\quad \min_\theta \; -\frac{1}{|B_F| |B_R|} \sum_{i \in B_F} \sum_{j \in B_R}
      \log \frac{\exp\left(f_i \cdot f_j / \tau\right)}{\sum_{k \in B_R} \exp\left(f_i \cdot f_k / \tau\right)},
      \qquad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]$$

    An epoch pushes the forgotten pictures' outputs to the uniform distribution U. Then rounds alternate: one makes the
    logits f of a forgotten picture equally similar to those of all retained pictures (which are held fixed), one
    trains on the retain set. Either kind of round has an optimizer of its own.
    """

    erase_epochs: PositiveFloat = 1.0
    "epochs towards the uniform distribution; 1 in the notebook"
    erase_learning_rate: PositiveFloat = 5e-3
    "of SGD with momentum 0.9; 0.005 in the notebook"
    rounds: PositiveInt = 8
    "rounds of contrast and repair; 8 in the notebook"
    temperature: PositiveFloat = 1.15
    "tau; 1.15 in the notebook"
    forget_learning_rate: PositiveFloat = 3e-4
    "of the contrast, at its beginning; 3e-4 in the notebook"
    final_forget_learning_rate: NonNegativeFloat = 1e-6
    "final rate of the contrast, by a cosine over all rounds; 1e-6 in the notebook"
    forget_batch_size: PositiveInt = 64
    "64 in the challenge"
    retain_learning_rate: PositiveFloat = 4e-3
    "of the repair; 0.001 x 256 / 64 in the notebook"
    retain_weight_decay: NonNegativeFloat = 1e-2
    "of the repair; 0.01 in the notebook"
    retain_batch_size: PositiveInt = 256
    "of repair and contrast; 256 in the notebook"

    def apply(self, work: Work) -> None:
        def flatten(batch: ImageBatch) -> Tensor:
            logits = work.task.logits_of(batch.pixels)
            return divergence(torch.zeros_like(logits), logits)

        def resemble(forget: ImageBatch, retain: ImageBatch) -> Tensor:
            forget_logits = work.task.logits_of(forget.pixels)
            with torch.no_grad():
                retain_logits = work.task.logits_of(retain.pixels)
            return contrast(forget_logits, retain_logits, self.temperature)

        erase = self.phase(
            "erase", epochs=self.erase_epochs, learning_rate=self.erase_learning_rate, batch_size=self.forget_batch_size
        )
        work.train(erase, work.forget, flatten)
        for number in range(self.rounds):
            resembling = self.phase(
                f"contrast {number + 1}",
                learning_rate=self.forget_learning_rate,
                schedule="cosine",
                final_rate=self.final_forget_learning_rate,
                part=(number / self.rounds, (number + 1) / self.rounds),
                batch_size=self.forget_batch_size,
                paired_batch_size=self.retain_batch_size,
                continues="contrast",
            )
            work.train(resembling, work.forget, resemble, paired_with=work.retain, passes=Passes(paired=FORWARD))
            repair = self.phase(
                f"repair {number + 1}",
                learning_rate=self.retain_learning_rate,
                weight_decay=self.retain_weight_decay,
                batch_size=self.retain_batch_size,
                continues="repair",
            )
            work.train(repair, work.retain, work.cross_entropy)
