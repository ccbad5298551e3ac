from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.relabelling import substituted
from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import ImageBatch
from expunge.methods.image_method import ImageMethod


class Amun(ImageMethod):
    r"""AMUN, adversarial machine unlearning (Ebrahimpour-Boroojeny, Sundaram and Chandrasekaran 2025, arXiv:2503.00917).

    $$x'_\epsilon = A_{\epsilon}(x) \approx \arg\max_{\|x' - x\|_2 \le \epsilon} -\log p_{\theta_0}(y \mid x'), \quad
      y' = \arg\max_c p_{\theta_0}(c \mid x'), \quad \epsilon = \epsilon_0 \cdot \min\{2^k : y' \ne y\}$$

    $$L = \frac{1}{2|F| + |R|} \left( \sum_{(x, y) \in F} \left[-\log p_\theta(y' \mid x') - \log p_\theta(y \mid
          x)\right] + \sum_{(x, y) \in R} -\log p_\theta(y \mid x) \right)$$

    For every picture to forget, the nearest one that the original classifies otherwise is found by projected
    ascent, in balls that double in radius. Fine-tuning on these with the original's labels for them lowers its
    confidence around the picture itself, and little elsewhere.
    """

    radius: PositiveFloat = 0.04
    "epsilon_0: first radius, with pixels from 0 to 1; 0.04 in the authors' code"
    search_steps: PositiveInt = 50
    "steps of the search in each ball; 50 in the paper"
    search_step: float = Field(default=0.1, gt=0)
    "length of a step, as a share of the radius; 0.1 in the paper"
    restarts: bool = True
    "search each ball from the picture itself, as the paper's algorithm; the authors' code continues from the last ball"
    with_forget: bool = True
    "train on the pictures to forget too, under their own labels, as the paper's main variant does"
    epochs: PositiveFloat = 10
    "passes over all of them; 10 in the paper"
    learning_rate: PositiveFloat = 0.01
    "of SGD with momentum 0.9; searched between 1e-6 and 0.1 in the paper"
    weight_decay: NonNegativeFloat = 5e-4
    "5e-4 in the authors' code"
    batch_size: PositiveInt = 64
    "pictures in a batch; 128 in the authors' code"

    def apply(self, work: Work) -> None:
        rows, pixels, labels = self.adversarial(work)
        made = work.task.normalised(255 * pixels)
        real = work.retain.joined(work.forget) if self.with_forget else work.retain
        places = replace(work.forget.take(rows), labels=labels)  # 8 bits are too coarse for these pictures
        pictures = real.joined(places)

        def loss(batch: ImageBatch) -> Tensor:
            return work.cross_entropy(batch, work.task.logits_of(substituted(batch, len(real), made)))

        phase = self.phase("relearning")
        work.train(phase, pictures, loss)

    def adversarial(self, work: Work) -> tuple[Tensor, Tensor, Tensor]:
        """Return the nearest pictures that the original takes for another class.

        Returns:
            (m,) rows of the forget set, m <= n: pictures without one in the whole range are left out;
            (m, 3, height, width) pixels from 0 to 1; (m,) the classes that the original takes them for.
        """
        start = work.forget.pixels.to(work.task.device, work.task.dtype) / 255
        labels = work.forget.labels.to(work.task.device)
        found, answers = start.clone(), labels.clone()
        left = torch.arange(len(labels), device=work.task.device)
        radius = self.radius
        while len(left) and radius <= 2 * math.sqrt(start[0].numel()):
            for rows in left.split(self.batch_size):
                first = start[rows] if self.restarts else found[rows]
                found[rows], answers[rows] = self._ascend(work, start[rows], first, labels[rows], radius)
            left = left[answers[left] == labels[left]]
            radius *= 2
        rows = (answers != labels).nonzero().flatten()
        return rows.cpu(), found[rows], answers[rows].cpu()

    def _ascend(self, work: Work, start: Tensor, first: Tensor, labels: Tensor, radius: float) -> tuple[Tensor, Tensor]:
        """Pixels and answers after ascent of the loss from `first` in a ball around `start`.

        Each picture stops once the answer is wrong.
        """
        pixels, answers = first.clone(), labels.clone()
        left = torch.arange(len(labels), device=labels.device)
        for step in range(self.search_steps + 1):
            current = pixels[left].requires_grad_()
            logits = work.original.logits_of(work.task.normalised(255 * current))
            answers[left] = logits.detach().argmax(-1)
            work.cost.passes += len(left)
            still = answers[left] == labels[left]
            if step == self.search_steps or not still.any():
                break
            (gradient,) = torch.autograd.grad(F.cross_entropy(logits, labels[left], reduction="sum"), current)
            work.cost.passes += 2 * len(left)
            left, gradient = left[still], gradient[still]
            direction = gradient / (_norm(gradient) + 1e-10)
            change = pixels[left] + self.search_step * radius * direction - start[left]
            change = change * (radius / _norm(change).clamp(min=1e-10)).clamp(max=1)
            pixels[left] = (start[left] + change).clamp(0, 1)
        return pixels, answers


def _norm(pixels: Tensor) -> Tensor:
    return pixels.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
