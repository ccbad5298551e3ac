from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import nn

from expunge.kinds.classifier.session import Work
from expunge.methods.image_method import ImageMethod
from expunge.ops.layers import head, reset
from expunge.runs.method import Needs


class BoundaryExpand(ImageMethod):
    r"""Boundary expanding (Chen et al. 2023, arXiv:2303.11570, section 4.2), for whole classes.

    $$L = \frac{1}{|F|} \sum_{(x, y) \in F} -\log p_{\theta^+}(C + 1 \mid x)$$

    The head gets one more class with random weights, every picture to forget is assigned to it, and it is removed
    again. The retain set is not used.
    """

    fresh: Literal["xavier", "pytorch"] = "xavier"
    "distribution of the added class's weights: Xavier normal with bias 0, as in the authors' code, or PyTorch's own"

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
        last = head(work.model)
        classes = last.out_features
        phase = self.phase("expanding")
        widen(last, work.generator("class"), self.fresh)
        try:
            shadow = replace(work.forget, labels=torch.full_like(work.forget.labels, classes))
            work.train(phase, shadow, work.cross_entropy)
        finally:
            narrow(last, classes)


def widen(layer: nn.Linear, generator: torch.Generator, fresh: Literal["xavier", "pytorch"] = "xavier") -> None:
    """Give a linear layer one more output with random weights, in place.

    xavier: normal with variance 2 / (inputs + outputs) of the widened layer, bias 0 (Glorot and Bengio 2010).
    """
    added = nn.Linear(layer.in_features, 1, layer.bias is not None).to(layer.weight)
    if fresh == "xavier":
        std = math.sqrt(2 / (layer.in_features + layer.out_features + 1))
        with torch.no_grad():
            added.weight.copy_(std * torch.randn(added.weight.shape, generator=generator))
            if layer.bias is not None:
                added.bias.zero_()
    else:
        reset([added], generator)
    layer.weight = nn.Parameter(torch.cat([layer.weight.detach(), added.weight.detach()]))
    if layer.bias is not None:
        layer.bias = nn.Parameter(torch.cat([layer.bias.detach(), added.bias.detach()]))
    layer.out_features += 1


def narrow(layer: nn.Linear, outputs: int) -> None:
    """Keep the first `outputs` outputs of a linear layer, in place."""
    layer.weight = nn.Parameter(layer.weight.detach()[:outputs].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[:outputs].clone())
    layer.out_features = outputs
