from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import first_layer
from expunge.runs.method import Needs
from expunge.train.phase import cosine


class Seif(ImageMethod):
    r"""Seif's third prize of the NeurIPS 2023 challenge, the vision confuser (its notebook; arXiv:2406.09073).

    $$\text{erase:}\quad \theta_{\text{first}} \leftarrow \theta_{\text{first}} + \mathcal{N}\left(0, \sigma^2\right)$$

    $$\text{repair:}\quad \min_\theta \; \Big(\frac{1}{|B|} \sum_{i \in B} w_{y_i}\Big) \,
      \frac{1}{|B|} \sum_{i \in B} -\log p_\theta(y_i \mid x_i), \qquad \text{before the last epoch}\quad
      \theta_{\text{first}} \leftarrow \theta_{\text{first}} + \mathcal{N}\left(0, \sigma_{\text{last}}^2\right)$$

    Only the layer that sees the pixels gets noise. The class weights multiply the loss of a batch as a whole, as in the
    notebook: 1 for the most frequent class of the retain set, less for the others, which on balanced data comes to a
    lower learning rate.
    """

    noise: NonNegativeFloat = 0.6
    "sigma: standard deviation of the first noise; 0.6 in the notebook"
    last_noise: NonNegativeFloat = 0.005
    "standard deviation of the noise before the last epoch; 0.005 in the notebook"
    other_class_weight: NonNegativeFloat = 0.05
    "w of every class but the most frequent one; 0.05 in the notebook"
    epochs: PositiveInt = 4
    "epochs of repair; 4 in the notebook"
    learning_rate: PositiveFloat = 7e-4
    "of SGD with momentum 0.9, falling by epoch with a cosine; 7e-4 in the notebook"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the notebook"
    batch_size: PositiveInt = 64
    "64 in the challenge"

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        weights = self.class_weights(work)

        def loss(batch: ImageBatch) -> Tensor:
            return weights[batch.labels].mean() * work.cross_entropy(batch)

        self.disturb(work, self.noise, "noise")
        repair = self.phase("repair")
        phases = repair.by_epoch(cosine(self.learning_rate, self.epochs))
        for phase in phases:
            if phase is phases[-1] and len(phases) > 1:
                self.disturb(work, self.last_noise, "last noise")
            work.train(phase, work.retain, loss)

    def class_weights(self, work: Work) -> Tensor:
        """(classes,) 1 for the most frequent class of the retain set."""
        counts = torch.bincount(work.retain.labels, minlength=work.classes)
        weights = torch.full((work.classes,), self.other_class_weight, dtype=work.task.dtype)
        weights[counts.argmax()] = 1.0
        return weights.to(work.task.device)

    def disturb(self, work: Work, deviation: float, name: str) -> None:
        weight = first_layer(work.model).weight
        assert isinstance(weight, Tensor)
        with torch.no_grad():
            noise = torch.randn(weight.shape, generator=work.generator(name), dtype=weight.dtype)
            weight += deviation * noise.to(weight.device)
