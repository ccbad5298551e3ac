"""Weights rounded to few bits: does the rounding undo what forgetting changed?"""

from __future__ import annotations

from collections.abc import Iterable

from expunge.kinds.classifier.attacks.attack import Side
from expunge.kinds.classifier.attacks.weights import Change, OfWeights, matrices
from expunge.ops.rounding import ROUNDINGS, survived
from expunge.runs.work import Work


class Quantization(OfWeights):
    """Weights rounded to 8 and 4 bits (Zhang et al. 2024, arXiv:2410.16454, of language models)."""

    name = "quantize"
    title = "Quantization"
    sentence = (
        "The weights of all linear layers and convolutions are rounded to 8 and to 4 bits, as they are for small devices. A "
        "change that is smaller than a step of that rounding is undone by it."
    )
    order = 10
    settings = tuple(ROUNDINGS)

    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        return list(ROUNDINGS.items())

    def notes(self, side: Side) -> dict[str, object]:
        """How much of the change from the base model each rounding keeps, from 0 to 1: known before it is tried."""
        base, after = matrices(side.base()), matrices(side.look())
        pairs = [
            (base[name].detach(), weight.detach())
            for name, weight in after.items()
            if name in base and base[name].shape == weight.shape
        ]
        kept: dict[str, object] = {}
        for words, rounding in ROUNDINGS.items():
            parts = [survived(one, other, rounding) for one, other in pairs]
            whole = sum(of for _, of in parts)
            kept[words] = max(0.0, sum(part for part, _ in parts) / whole) if whole else None
        return {"share of the change that the rounding keeps": kept}

    def noting(self, side: Side) -> Work:
        return Work(changed=2 * len(ROUNDINGS))
