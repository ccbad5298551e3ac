"""An optimised input: one change of what is shown that brings the forgotten back."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from expunge.kinds.classifier.attacks.examples import evenly
from expunge.kinds.classifier.attacks.relearning import BATCH
from expunge.kinds.generator.attacks.attack import Attack, Side
from expunge.kinds.generator.corruption import draw_keys
from expunge.kinds.generator.measures.leaks import change_of_input, changed
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work


class OptimisedInput(Attack):
    """One change of the shown pixels, the same for all pictures, found by Adam on half of them."""

    name = "input"
    title = "An optimised input"
    sentence = (
        "One change of the shown pixels, the same for all pictures, is found by gradient descent on half of them, and "
        "tried on the other half; the weights stay as they are."
    )
    order = 40

    def pieces(self, side: Side) -> list[Piece]:
        return [Piece(words=_words(side), work=searching(side) + Work(read=side.asking_held_back()))]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        change, task, numbers = found_change(side), side.look(), side.asked.held_back
        values = side.values(task, numbers, lambda batch: changed(batch, change))
        yield Trial(setting=_words(side), values=values, facts=numbers)


def _words(side: Side) -> str:
    return f"{side.settings.relearning_steps} steps"


def searching(side: Side) -> Work:
    """Settings for `found_change`."""
    return Work(trained=side.settings.relearning_steps * min(BATCH, len(side.asked.given)), loaded=1)


def found_change(side: Side) -> Tensor:
    """(1, 3, side, side) the change of normalised pixels under which half of the pictures are drawn best."""
    task, given = side.fresh(), side.asked.given
    some = side.asked.some([given[row] for row in evenly(len(given), BATCH)])

    def keys(step: int) -> Tensor:
        return draw_keys(len(some), side.seed, "optimised input", step)

    with torch.random.fork_rng(devices=[]):
        return change_of_input(task, some, keys, side.settings.relearning_steps)
