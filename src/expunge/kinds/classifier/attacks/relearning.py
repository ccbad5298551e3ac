"""Training a copy of the model: do a few training steps bring back what was forgotten?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from expunge.core.order import Order, random_seed
from expunge.kinds.classifier.attacks.picture_side import PictureSide
from expunge.kinds.classifier.task import Pictures
from expunge.runs.attacking import AnyAttack
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work
from expunge.train.clipped import clipped_step

BATCH = 64
"pictures in a step, at most"
LOOKED_AT = (0.1, 0.2, 0.5, 1.0)
"shares of the steps after which the pictures are asked for again"
WORDS = {
    "given": "the other half",
    "mixed": "the other half and the retain set",
    "retain": "the retain set",
}


@dataclass(frozen=True, slots=True)
class Way:
    """How an attacker trains: the data, and the rate of AdamW, all weights."""

    on: str
    rate: float

    @property
    def words(self) -> str:
        """In words."""
        return f"{WORDS[self.on]}, rate {self.rate:g}"


class OfTraining(AnyAttack[PictureSide[Any]]):
    """An attack that trains the model, in several ways, and asks again during training."""

    ways: ClassVar[tuple[Way, ...]]

    def asked(self, side: PictureSide[Any]) -> list[int]:
        """Numbers of the pictures to ask for: those that the attacker is not given."""
        return side.asked.held_back

    def trained(self, side: PictureSide[Any], task: Any) -> Iterable[nn.Parameter]:
        """The weights that are trained."""
        return side.trainable(task)

    def pieces(self, side: PictureSide[Any]) -> list[Piece]:
        asking = side.asking() * len(self.asked(side)) / len(side.asked)
        found = []
        for way in self.ways:
            begun = 0
            for end in _ends(side.settings.relearning_steps):
                work = Work(trained=BATCH * (end - begun), read=asking, loaded=0 if begun else 1)
                found.append(Piece(words=f"{way.words}, {end} steps", work=work))
                begun = end
        return found

    def carry_out(self, side: PictureSide[Any]) -> Iterator[Trial]:
        for number, way in enumerate(self.ways):
            yield from self._trials(side, way, number)

    def _trials(self, side: PictureSide[Any], way: Way, number: int) -> Iterator[Trial]:
        steps = side.settings.relearning_steps
        ends = _ends(steps)
        for step, task in self._taught(side, way):
            side.show((number + step / steps) / len(self.ways), f"training on {way.words}")
            if step in ends:
                words = f"{way.words}, {step} steps"
                yield side.trial(task, words, self.asked(side), family=way.words, at=float(step))

    def tuned(self, side: PictureSide[Any]) -> Any:
        """A copy of the model after all steps of the first way."""
        for _, task in self._taught(side, self.ways[0]):
            tuned = task
        return tuned

    def tuning(self, side: PictureSide[Any]) -> Work:
        """The cost of `tuned`."""
        return Work(trained=BATCH * side.settings.relearning_steps, loaded=1)

    def _taught(self, side: PictureSide[Any], way: Way) -> Iterator[tuple[int, Any]]:
        """(number of the step, the model after it)."""
        task = side.fresh()
        optimizer = torch.optim.AdamW(list(self.trained(side, task)), lr=way.rate, weight_decay=0.0)
        seed = random_seed(side.seed, self.name, way.words) % (1 << 31)
        for step, batch in enumerate(batches(side, way, side.settings.relearning_steps), 1):
            with torch.random.fork_rng(devices=[]):  # a model's own draws, such as dropout
                torch.manual_seed(seed + step)
                clipped_step(side.loss(task, batch, way.on == "given", f"{way.words}, {step}"), optimizer)
            task.model.eval()
            yield step, task


class Relearning(OfTraining):
    """Training on one half of the forgotten pictures, asked for the other half (Deeb and Roger 2024, arXiv:2410.08827,
    of language models)."""

    name = "relearn"
    title = "Relearning"
    sentence = (
        "A copy of the model is trained for a few steps on half of the pictures, alone or among those of the retain "
        "set, and asked for the other half, which it was not shown. The worst of all steps and rates counts."
    )
    order = 20
    ways = (Way("given", 1e-4), Way("given", 1e-3), Way("mixed", 1e-4), Way("mixed", 1e-3))


class RetainRelearning(OfTraining):
    """Training on the retain set alone, which brings forgotten pictures back (Siddiqui et al. 2025, arXiv:2505.22310:
    from about 50 % right to nearly all, where a retrained model stays at 50 %)."""

    name = "relearn_retain"
    title = "Training on the retain set"
    sentence = (
        "A copy of the model is trained for a few steps on the retain set, which holds none of the pictures, as "
        "users do, and asked again."
    )
    order = 25
    ways = (Way("retain", 1e-4), Way("retain", 1e-3))

    def asked(self, side: PictureSide[Any]) -> list[int]:
        return list(range(len(side.asked)))


def _ends(steps: int) -> list[int]:
    """Steps after which the pictures are asked for again."""
    return sorted({max(1, round(share * steps)) for share in LOOKED_AT})


def batches(side: PictureSide[Any], way: Way, steps: int) -> Iterator[Pictures]:
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
