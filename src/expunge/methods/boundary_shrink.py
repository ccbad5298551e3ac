from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.runs.method import Needs


class BoundaryShrink(ImageMethod):
    r"""Boundary shrink (Chen et al. 2023, arXiv:2303.11570, equations 4 and 5), for whole classes.

    $$x' = \mathrm{clip}\left(x + \epsilon \, \mathrm{sign} \nabla_x \left(-\log p_{\theta_0}(y \mid x)\right)\right),
      \quad y' = \arg\max_{c \ne y} p_{\theta_0}(c \mid x')$$

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_\theta(y' \mid x)$$

    Every picture to forget is assigned to the nearest other class, found by one step over the boundary. If that step
    does not leave the true class, the next likeliest class is taken (the authors' code keeps the true one there, and
    trains on it). The search is done once: on the fixed original it finds the same class every epoch. The retain set is
    not used.
    """

    step: PositiveFloat = 0.1
    "epsilon: change of each pixel in the search, in units of its full range; 0.1 in the paper"
    epochs: PositiveFloat = 10
    "passes over the forget set; 10 in the paper"
    learning_rate: PositiveFloat = 1e-5
    "of SGD with momentum 0.9; 1e-5 in the paper"
    weight_decay: NonNegativeFloat = 0.0
    "pull of the weights towards 0; none in the paper"
    batch_size: PositiveInt = 64
    "pictures in a batch; 64, as the challenge's original"

    needs: ClassVar[Needs] = Needs(kinds=("image_classifier",))

    def apply(self, work: Work) -> None:
        phase = self.phase("shrinking")
        work.train(phase, replace(work.forget, labels=self.nearest(work)), work.cross_entropy)

    def nearest(self, work: Work) -> Tensor:
        """(n,) the nearest other class of each picture to forget, as the original sees it."""
        found = []
        for rows in torch.arange(len(work.forget)).split(self.batch_size):
            part = work.forget.take(rows)
            pixels = (part.pixels.to(work.task.device, work.task.dtype) / 255).requires_grad_()
            labels = part.labels.to(work.task.device)
            logits = work.original.logits_of(work.task.normalised(255 * pixels))
            loss = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, pixels)
            with torch.no_grad():
                moved = (pixels + self.step * gradient.sign()).clamp(0, 1)
                logits = work.original.logits_of(work.task.normalised(255 * moved))
                logits[torch.arange(len(labels)), labels] = -torch.inf
                found.append(logits.argmax(-1).cpu())
            work.cost.passes += 4 * len(labels)
        return torch.cat(found)
