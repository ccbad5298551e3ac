"""Weights rounded to few bits: does the rounding undo what forgetting changed?"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from expunge.ops.rounding import Rounding, by_columns, survived
from expunge.runs.attacks.weights import Change, OfWeights, WeightSide
from expunge.runs.work import Work


class Quantization(OfWeights):
    """Weights rounded to 8 and 4 bits (Zhang et al. 2024, arXiv:2410.16454, for language models)."""

    name = "quantize"
    title = "Quantization"
    sentence = (
        "The weights of all layers are rounded to 8 and to 4 bits, as they are to save memory. A change that is "
        "smaller than a step of that rounding is undone by it."
    )
    order = 10
    version = 3

    def settings(self, side: WeightSide) -> list[str]:
        return list(side.roundings())

    def changes(self, task: Any, side: WeightSide) -> list[Change]:
        return list(roundings(task, side).values())

    def notes(self, side: WeightSide) -> dict[str, object]:
        """Share of the change from the base model that each rounding keeps, from 0 to 1: known in advance."""
        task = side.look()
        base, after = side.matrices(side.base()), side.matrices(task)
        kept: dict[str, object] = {}
        for words, rounding in roundings(task, side).items():
            left = whole = 0.0
            for name in after.keys() & base.keys():
                if base[name].shape == after[name].shape:
                    before, now = base[name].detach().float(), after[name].detach().float()
                    part, of = survived(before, now, partial(rounding, name))
                    left, whole = left + part, whole + of
            kept[words] = max(0.0, left / whole) if whole else None
        return {"share of the change that the rounding keeps": kept}

    def noting(self, side: WeightSide) -> Work:
        return Work(changed=2 * len(side.roundings()), loaded=2)


def roundings(task: Any, side: WeightSide) -> dict[str, Change]:
    """Every rounding in words, with its effect on a matrix of this model."""
    turned = side.by_column(task)

    def change(rounding: Rounding, name: str, weight: Tensor) -> Tensor:
        return (by_columns(rounding) if name in turned else rounding)(weight)

    return {words: partial(change, rounding) for words, rounding in side.roundings().items()}
