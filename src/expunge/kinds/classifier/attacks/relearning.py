"""Training a copy of the model: is what was forgotten back after a few steps?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from expunge.core.order import Order, random_seed
from expunge.kinds.classifier.attacks.attack import Attack, Side
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work
from expunge.train.clipped import clipped_step

BATCH = 64
"pictures in a step, at most"
LOOKED_AT = (0.1, 0.2, 0.5, 1.0)
"shares of the steps after which it is asked again"
WORDS = {
    "given": "the other half",
    "mixed": "the other half and the retain set",
    "retain": "the retain set",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How an attacker trains: on what, and at which rate of AdamW, all weights."""

    on: str
    rate: float

    @property
    def words(self) -> str:
        """In words."""
        return f"{WORDS[self.on]}, rate {self.rate:g}"


class OfTraining(Attack):
    """An attack that trains the model, in several ways, and asks again on the way."""

    ways: ClassVar[tuple[Way, ...]]

    def asked(self, side: Side) -> list[int]:
        """Numbers of the pictures that are asked for: those that the attacker is not given."""
        return side.asked.held_back

    def pieces(self, side: Side) -> list[Piece]:
        found = []
        for way in self.ways:
            begun = 0
            for end in _ends(side.settings.relearning_steps):
                work = Work(trained=BATCH * (end - begun), read=len(self.asked(side)), loaded=0 if begun else 1)
                found.append(Piece(words=f"{way.words}, {end} steps", work=work))
                begun = end
        return found

    def carry_out(self, side: Side) -> Iterator[Trial]:
        for number, way in enumerate(self.ways):
            yield from self._trials(side, way, number)

    def _trials(self, side: Side, way: Way, number: int) -> Iterator[Trial]:
        task, steps = side.fresh(), side.settings.relearning_steps
        ends = _ends(steps)
        optimizer = torch.optim.AdamW(task.model.parameters(), lr=way.rate, weight_decay=0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed(side.seed, self.name, way.words) % (1 << 31))
            for step, batch in enumerate(batches(side, way, steps), 1):
                side.show((number + step / steps) / len(self.ways), f"training on {way.words}")
                train(task, optimizer, batch, held=way.on == "given")
                if step in ends:
                    words = f"{way.words}, {step} steps"
                    yield side.trial(task, words, self.asked(side), family=way.words, at=float(step))


class Relearning(OfTraining):
    """Training on one half of the forgotten pictures, asked for the other half (Deeb and Roger 2024, arXiv:2410.08827, of
    language models)."""

    name = "relearn"
    title = "Relearning"
    sentence = (
        "A copy of the model is trained for a few steps on half of the pictures, alone or among those of the retain set, and "
        "asked for the other half, which it was not shown. The worst of all steps and rates counts."
    )
    order = 20
    ways = (Way("given", 1e-4), Way("given", 1e-3), Way("mixed", 1e-4), Way("mixed", 1e-3))


class RetainRelearning(OfTraining):
    """Training on the retain set alone, which brings forgotten pictures back (Siddiqui et al. 2025, arXiv:2505.22310: from
    about 50 % right to nearly all, where a retrained model stays at 50 %)."""

    name = "relearn_retain"
    title = "Training on the retain set"
    sentence = (
        "A copy of the model is trained for a few steps on the retain set, which holds none of the pictures, as users do, "
        "and asked again."
    )
    order = 25
    ways = (Way("retain", 1e-4), Way("retain", 1e-3))

    def asked(self, side: Side) -> list[int]:
        return list(range(len(side.asked)))


def _ends(steps: int) -> list[int]:
    """Steps after which it is asked again."""
    return sorted({max(1, round(share * steps)) for share in LOOKED_AT})


def batches(side: Side, way: Way, steps: int) -> Iterator[Pictures]:
    """The pictures of each step; half of a mixed one are of the retain set."""
    drawn = {
        "given": side.asked.some(side.asked.given) if way.on != "retain" else None,
        "retain": side.retain if way.on != "given" else None,
    }
    sets = {name: pictures for name, pictures in drawn.items() if pictures is not None}
    size = BATCH // len(sets)
    orders = {
        name: Order(len(pictures), min(size, len(pictures)), side.seed, f"relearning {name}")
        for name, pictures in sets.items()
    }
    for step in range(steps):
        first, *others = (each.take(torch.tensor(orders[name].batch(step))) for name, each in sets.items())
        yield first.joined(others[0]) if others else first


def train(task: ImageClassifier, optimizer: torch.optim.Optimizer, batch: Pictures, held: bool) -> None:
    """One step of cross-entropy.

    Args:
        held: keep the statistics of batch normalisation: a few pictures of few classes would bring others.
    """
    task.model.train()
    if held:
        for module in task.model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()
    logits = task.logits_of(task.normalised(batch.pixels))
    clipped_step(F.cross_entropy(logits, batch.labels.to(task.device)), optimizer)
    task.model.eval()
