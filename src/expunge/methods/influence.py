from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from expunge.kinds.classifier.session import Work
from expunge.kinds.classifier.task import Pictures
from expunge.methods.image_method import ImageMethod


class Influence(ImageMethod):
    r"""Influence unlearning with WoodFisher (Jia et al. 2023, arXiv:2304.04934; Singh and Alistarh 2020, arXiv:2004.14340).

    $$\theta \leftarrow \theta + \alpha \, H^{-1} v, \qquad
      v = \frac{1}{|F| + |R|} \Big(\sum_{F} \nabla \ell - \frac{|F|}{|R|} \sum_{R} \nabla \ell\Big), \qquad
      H = \lambda I + \frac{1}{N} \sum_{i=1}^{N} g_i g_i^\top$$

    One Newton step to where training without the forget set would have ended, with H the information matrix of N
    retained pictures with gradients g. `inverse: exact` solves this, with memory for N gradients; N is at most |R|.
    `inverse: recursion` is what the authors of the unlearning method run, with memory for two, and moves v along the
    first gradient only; N stays as set if there are fewer pictures:

    $$o \leftarrow g_1, \quad k \leftarrow v; \qquad \text{for } i = 2 \ldots N: \quad
      k \leftarrow k - \frac{k \cdot g_i}{N + o \cdot g_i} \, o, \quad
      o \leftarrow o - \frac{o \cdot g_i}{N + o \cdot g_i} \, o$$
    """

    alpha: NonNegativeFloat = 0.2
    "length of the step; 0.2 in the authors' code, 1 to 20 in their search"
    inverse: Literal["recursion", "exact"] = "recursion"
    "how H is inverted; recursion in the authors' code. exact needs memory for `pictures` gradients"
    pictures: PositiveInt = 1000
    """N: retained pictures for H, drawn at random; 1000 in the authors' code, which divides by it where there are
    fewer, too"""
    damping: PositiveFloat = 1.0
    "lambda, for `inverse: exact`; the recursion starts from 1"
    batch_size: PositiveInt = 128
    "for the sums of gradients; changes only speed"

    def apply(self, work: Work) -> None:
        everything = len(work.forget) + len(work.retain)
        forget = self.summed(work, work.forget, "forget") / everything
        retain = self.summed(work, work.retain, "retain") * (len(work.forget) / (everything * len(work.retain)))
        count = min(self.pictures, len(work.retain))
        each = work.gradients(work.retain, work.cross_entropy, batch_size=1, name="information", limit=count)
        single = map(flat, each)
        if self.inverse == "exact":
            step = exact(forget - retain, torch.stack(list(single)), self.damping)
        else:
            step = recursion(forget - retain, single, self.pictures)
        parts = step.split([parameter.numel() for parameter in work.trainable()])
        with torch.no_grad():
            for parameter, part in zip(work.trainable(), parts, strict=True):
                parameter.add_(self.alpha * part.view_as(parameter))

    def summed(self, work: Work, pictures: Pictures, name: str) -> Tensor:
        """(weights,) sum of the gradients of the loss of each picture."""
        summed = partial(work.cross_entropy, reduction="sum")
        found = work.gradients(pictures, summed, batch_size=self.batch_size, name=name)
        total = flat(next(found))
        for gradients in found:
            total += flat(gradients)
        return total


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def recursion(vector: Tensor, gradients: Iterable[Tensor], count: int) -> Tensor:
    """The authors' estimate of H^-1 `vector` (weights,) from gradients seen one at a time; `count` is N of the
    formula."""
    result, direction = vector.clone(), None
    for gradient in gradients:
        if direction is None:
            direction = gradient.clone()
            continue
        along = torch.dot(direction, gradient)
        result -= torch.dot(result, gradient) / (count + along) * direction
        direction -= along / (count + along) * direction
    return result


def exact(vector: Tensor, gradients: Tensor, damping: float) -> Tensor:
    """H^-1 `vector` (weights,) from `gradients` (count, weights), by Woodbury's identity, with one unknown per
    picture."""
    count = len(gradients)
    inner = (gradients @ gradients.T).cpu().double()  # not every device has float64
    inner.diagonal().add_(count * damping)
    shares = torch.linalg.solve(inner, (gradients @ vector).cpu().double()).to(vector)
    return (vector - gradients.T @ shares) / damping
