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


class OptimisedInput(Attack):
    """One change of the shown pixels, the same for all pictures, found by Adam on half of them."""

    name = "input"
    title = "An optimised input"
    sentence = (
        "One change of the shown pixels, the same for all pictures, is sought by gradient descent on half of them, and "
        "tried on the other half; the weights stay as they are."
    )
    order = 40

    def cost(self, side: Side) -> float:
        return search_cost(side) + side.asking() / 2

    def carry_out(self, side: Side) -> Iterator[Trial]:
        change, task, numbers = found_change(side), side.look(), side.asked.held_back
        values = side.values(task, numbers, lambda batch: changed(batch, change))
        yield Trial(setting=f"{side.settings.relearning_steps} steps", values=values, facts=numbers)


def search_cost(side: Side) -> float:
    """Pictures that run forward, and gradients at three times as much, while a change is sought."""
    return 3.0 * side.settings.relearning_steps * min(BATCH, len(side.asked.given))


def found_change(side: Side) -> Tensor:
    """(1, 3, side, side) the change of normalised pixels under which half of the pictures are drawn best."""
    task, given = side.fresh(), side.asked.given
    some = side.asked.some([given[row] for row in evenly(len(given), BATCH)])

    def keys(step: int) -> Tensor:
        return draw_keys(len(some), side.seed, "optimised input", step)

    with torch.random.fork_rng(devices=[]):
        return change_of_input(task, some, keys, side.settings.relearning_steps)
