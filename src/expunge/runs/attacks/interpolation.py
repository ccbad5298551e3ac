"""Weights on the way back to the base model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from expunge.runs.attacks.weights import Change, OfWeights, WeightSide

SHARES = (0.1, 0.2)
"shares of the way back to the base model"


class Interpolation(OfWeights):
    """Weights on the way back to the base model."""

    name = "interpolate"
    title = "Interpolation towards the base model"
    sentence = "The weights are moved a part of the way back to those of the base model, as merging models does."
    order = 62

    def settings(self, side: WeightSide) -> list[str]:
        return [f"{share:.0%} of the way" for share in SHARES]

    def missing(self, side: WeightSide) -> str | None:
        if not side.retrained:  # the base's weights only know the forget set
            return "it needs a retrained model as the control: give --control MODEL"
        return side.unlike_base()

    def changes(self, task: Any, side: WeightSide) -> Iterator[Change]:
        base = side.matrices(side.base())
        for share in SHARES:
            yield partial(towards, share, base)


def towards(share: float, base: Mapping[str, Tensor], name: str, weight: Tensor) -> Tensor:
    """The weight, a share of the way to the base model's of the same name."""
    return torch.lerp(weight, base[name].detach().to(weight), share)
