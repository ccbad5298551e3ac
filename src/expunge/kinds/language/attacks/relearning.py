"""Relearning: does training for a few steps bring back what was forgotten?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar

import torch

from expunge.core.order import Order
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Row, batch_of
from expunge.kinds.language.lora import Adapter, adapter
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work
from expunge.train.clipped import clipped_step

BATCH = 2
"rows in a step"
LOOKED_AT = (0.2, 0.5, 1.0)
"shares of the steps after which the facts are asked for again"
RANK = 16
"of the adapter"


@dataclass(frozen=True, slots=True)
class Way:
    """How an attacker trains: the data, the part of the weights, the rate."""

    on: str
    adapter: bool
    rate: float

    @property
    def words(self) -> str:
        """In words."""
        part = f"LoRA of rank {RANK}" if self.adapter else "all weights"
        return f"{WORDS[self.on]}, {part}, rate {self.rate:g}"


WORDS = {"given": "the other facts", "retain": "the retain set", "ordinary": "ordinary text"}


class OfTraining(Attack):
    """An attack that trains the model, in several ways, and asks again during training."""

    ways: ClassVar[tuple[Way, ...]]

    def pieces(self, side: Side) -> list[Piece]:
        asked, found = float(tokens(side.asked(side.facts.held_back))), []
        for way in self.ways:
            rows, begun = self._rows(side, way), 0
            for end in _ends(side.settings.relearning_steps) if rows else ():
                trained = _mean(rows) * min(BATCH, len(rows)) * (end - begun)
                steps = 0 if way.adapter else end - begun
                work = Work(trained=trained, steps=steps, read=asked, loaded=0 if begun else 1)
                found.append(Piece(words=f"{way.words}, {end} steps", work=work))
                begun = end
        return found

    def carry_out(self, side: Side) -> Iterator[Trial]:
        for number, way in enumerate(self.ways):
            rows = self._rows(side, way)
            if rows:
                yield from self._trials(side, way, rows, number)

    def _rows(self, side: Side, way: Way) -> Sequence[Row]:
        if way.on == "given":
            return [side.facts.every[i].taught for i in side.facts.given]
        return side.retain if way.on == "retain" else side.ordinary

    def _trials(self, side: Side, way: Way, rows: Sequence[Row], number: int) -> Iterator[Trial]:
        task, steps = side.fresh(), side.settings.relearning_steps
        ends = _ends(steps)
        with adapter(task, Adapter(rank=RANK), side.seed % (1 << 31)) if way.adapter else nullcontext():
            begun = 0
            trained = [p for p in task.model.parameters() if p.requires_grad]
            # Weight by weight: the fused update of GPUs takes another copy of the weights.
            optimizer = torch.optim.AdamW(trained, lr=way.rate, weight_decay=0.0, foreach=False)
            order = Order(len(rows), min(BATCH, len(rows)), side.seed, f"relearning {way.on}")
            for end in ends:
                for step in range(begun, end):
                    side.show((number + step / steps) / len(self.ways), f"relearning from {way.words}")
                    clipped_step(task.nll(batch_of([rows[i] for i in order.batch(step)])), optimizer)
                begun = end
                yield side.trial(
                    task, f"{way.words}, {end} steps", side.facts.held_back, family=way.words, at=float(end)
                )


class Relearning(OfTraining):
    """Training on one half of the facts, asked for the other half (Lynch et al. 2024, arXiv:2402.16835; Deeb and Roger
    2024, arXiv:2410.08827)."""

    name = "relearn"
    title = "Relearning"
    sentence = (
        "The model is trained for a few steps on half of the facts and asked for the other half, which it was not "
        "shown. The worst of all steps and of both ways counts."
    )
    order = 20
    ways = (Way("given", False, 5e-5), Way("given", True, 5e-4))


class RelearningRates(OfTraining):
    """The same at other learning rates: the worst of several counts (RepSelect's attacks: 1e-5 to 5e-5)."""

    name = "relearn_rates"
    title = "Relearning at other rates"
    sentence = "As relearning, at lower and higher learning rates."
    order = 45
    ways = (Way("given", False, 1e-5), Way("given", True, 2e-3), Way("given", False, 2e-4))


class BenignRelearning(OfTraining):
    """Training on other text than the facts: on the retain set (Siddiqui et al. 2025, arXiv:2505.22310) and on ordinary
    text (Hu et al. 2024, arXiv:2406.13356; Łucki et al. 2024, arXiv:2409.18025)."""

    name = "relearn_benign"
    title = "Training on other text"
    sentence = (
        "The model is trained for a few steps on the retain set and on ordinary text, as users do, and asked again."
    )
    order = 25
    ways = (Way("retain", False, 5e-5), Way("ordinary", False, 5e-5))


def _ends(steps: int) -> list[int]:
    """Steps after which the facts are asked for again."""
    return sorted({max(1, round(share * steps)) for share in LOOKED_AT})


def _mean(rows: Sequence[Row]) -> float:
    return tokens(rows) / max(1, len(rows))
