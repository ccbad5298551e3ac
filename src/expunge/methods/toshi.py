from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from expunge.errors import DataError
from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import leaves
from expunge.runs.method import Needs
from expunge.train.phase import cosine

TRANSPOSED_SHARE = 246 / 512
"of the contest's models"


@torch.no_grad()
def transpose(model: nn.Module) -> None:
    """Transpose every square kernel of the convolutions."""
    for _, module in leaves(model, nn.Conv2d):
        weight = module.weight
        assert isinstance(weight, Tensor)
        if weight.shape[2] == weight.shape[3]:
            weight.copy_(weight.transpose(2, 3).clone())


def guessed(work: Work) -> Tensor:
    """(n,) labels for the forget set: the original's predictions for held-back pictures of the same class, drawn at
    random.

    A class without any held back keeps its label.

    Raises:
        DataError: no held-back pictures of the classes to forget.
    """
    held, labels = work.validation, work.forget.labels.clone()
    if held is None or not torch.isin(held.labels, labels).any():
        raise DataError(
            "toshi has no held-back pictures of the classes to forget to guess labels from",
            seen="classes " + ", ".join(map(str, labels.unique().tolist())),
            next_step="hold back more pictures (images.validation), or leave `half` at transposed",
        )
    answers, generator = work.original_outputs(held).argmax(-1).cpu(), work.generator("guesses")
    for label in labels.unique():
        places, known = (work.forget.labels == label).nonzero().flatten(), answers[held.labels == label]
        if len(known):
            labels[places] = known[torch.randint(len(known), (len(places),), generator=generator)]
    return labels


class Toshi(ImageMethod):
    r"""Toshi and marvelworld's fifth prize of the NeurIPS 2023 challenge, transposed kernels (notebook; arXiv:2410.01276).

    $$\text{erase:}\quad W_{o,i,h,w} \leftarrow W_{o,i,w,h} \;\text{in every convolution}$$

    $$\text{repair:}\quad \min_\theta \; \mathbb{E}_{R}\left[-\log p_\theta(y \mid x)\right]$$

    The erasing is deterministic: models differ only by the order of pictures in the repair. Kernels that are not square
    stay unchanged. In the contest 246 of the 512 models were made so, the others by training on the retain set and on
    the forget set under the labels that a retrained model would be expected to predict:

    $$\text{guess:}\quad y'_x \sim \hat P_V(\arg\max_c p_{\theta_0}(c \mid x_v) \mid y_v = y_x), \qquad
      \min_\theta \; \mathbb{E}_{R \cup F'}\left[-\log p_\theta(y \mid x)\right]$$

    `half` chooses. How the authors guessed is not public in full; here it is the original's prediction for a picture of
    the same class drawn from the held-back ones V, which it knows as little as a retrained model knows the forget set.
    """

    half: Literal["transposed", "guessed", "either"] = "transposed"
    "which half: transposed kernels, guessed labels, or one of them drawn for each model, as often as in the contest"

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
        pictures = work.retain
        if self.transposes(work):
            transpose(work.model)
        else:
            pictures = pictures.joined(replace(work.forget, labels=guessed(work)))
        repair = self.phase("repair")
        for phase in repair.by_epoch(cosine(self.learning_rate, self.epochs)):
            work.train(phase, pictures, work.cross_entropy)

    def transposes(self, work: Work) -> bool:
        """Whether this model is one of those with transposed kernels."""
        if self.half != "either":
            return self.half == "transposed"
        return float(torch.rand((), generator=work.generator("half"))) < TRANSPOSED_SHARE
