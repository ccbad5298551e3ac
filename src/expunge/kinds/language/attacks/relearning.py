"""Relearning: is what was forgotten back after a few steps of training?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch

from expunge.core.order import Order
from expunge.kinds.language.attacks.attack import Attack, Side, tokens
from expunge.kinds.language.attacks.facts import Row, batch_of
from expunge.kinds.language.lora import Adapter, adapter
from expunge.kinds.language.task import CausalLM
from expunge.runs.audit import Trial

BATCH = 4
"rows in a step"
LOOKED_AT = (0.1, 0.2, 0.4, 1.0)
"shares of the steps after which it is asked again"
RANK = 16
"of the adapter"


@dataclass(frozen=True, slots=True)
class Way:
    """How an attacker trains: on what, what part of the weights, at which rate."""

    on: str
    adapter: bool
    rate: float

    @property
    def words(self) -> str:
        """In words."""
        part = f"LoRA of rank {RANK}" if self.adapter else "all weights"
        return f"{WORDS[self.on]}, {part}, rate {self.rate:g}"


WORDS = {"given": "the other facts", "retain": "the retain set", "ordinary": "ordinary text"}
WAYS = (
    Way("given", False, 5e-5),
    Way("given", True, 5e-4),
    Way("retain", False, 5e-5),
    Way("given", False, 1e-5),
    Way("ordinary", False, 5e-5),
    Way("given", True, 2e-3),
)
"what is tried, in order: rates around those of Lynch et al. and of RepSelect's attacks (1e-5 to 5e-5, all weights)"


class Relearning(Attack):
    """Training on one half of the facts, and on text that is no fact, asked for the other half (Deeb and Roger 2024,
    arXiv:2410.08827; Hu et al. 2024, arXiv:2406.13356; Siddiqui et al. 2025, arXiv:2505.22310 for the retain set)."""

    name = "relearn"
    title = "Relearning"
    sentence = (
        "The model is trained for a few steps on half of the facts, and on other text, and asked for the other half, which "
        "it was not shown. The worst of all steps, rates and texts counts."
    )
    order = 20

    def cost(self, side: Side) -> float:
        asked = tokens(side.asked(side.facts.held_back)) * len(LOOKED_AT)
        return sum(3 * _mean(self._rows(side, way)) * BATCH * side.settings.relearning_steps + asked for way in WAYS)

    def carry_out(self, side: Side) -> Iterator[Trial]:
        for number, way in enumerate(WAYS):
            rows = self._rows(side, way)
            if rows:
                yield from self._trials(side, way, rows, number)

    def _rows(self, side: Side, way: Way) -> Sequence[Row]:
        if way.on == "given":
            return [side.facts.every[i].taught for i in side.facts.given]
        return side.retain if way.on == "retain" else side.ordinary

    def _trials(self, side: Side, way: Way, rows: Sequence[Row], number: int) -> Iterator[Trial]:
        task, steps = side.fresh(), side.settings.relearning_steps
        ends = sorted({max(1, round(share * steps)) for share in LOOKED_AT})
        with adapter(task, Adapter(rank=RANK), side.seed % (1 << 31)) if way.adapter else nullcontext():
            begun = 0
            optimizer = torch.optim.AdamW(
                [p for p in task.model.parameters() if p.requires_grad], lr=way.rate, weight_decay=0.0
            )
            order = Order(len(rows), min(BATCH, len(rows)), side.seed, f"relearning {way.on}")
            for end in ends:
                for step in range(begun, end):
                    side.show((number + step / steps) / len(WAYS), f"relearning from {way.words}")
                    _train(task, optimizer, [rows[i] for i in order.batch(step)])
                begun = end
                yield side.trial(
                    task, f"{way.words}, {end} steps", side.facts.held_back, family=way.words, at=float(end)
                )


def _train(task: CausalLM, optimizer: torch.optim.Optimizer, rows: Sequence[Row]) -> None:
    """One step on these rows. A step whose gradient is no number is left out: an attacker would go back."""
    optimizer.zero_grad(set_to_none=True)
    task.nll(batch_of(rows)).backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    if torch.isfinite(norm):
        optimizer.step()


def _mean(rows: Sequence[Row]) -> float:
    return tokens(rows) / max(1, len(rows))
