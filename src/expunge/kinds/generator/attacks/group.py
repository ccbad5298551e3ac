"""The group drawn again: is the completion of a forgotten picture, after an attack, recognised as one of its group?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from expunge.kinds.generator.attacks.attack import Attack, Side
from expunge.kinds.generator.attacks.nearness import VIEWS, Changed, drawn_in_batches, views
from expunge.kinds.generator.attacks.optimised_input import found_change, searching
from expunge.kinds.generator.attacks.other_corruptions import others
from expunge.kinds.generator.attacks.relearning import DecoderRelearning
from expunge.kinds.generator.judge_network import only_drawn
from expunge.kinds.generator.measures.leaks import changed
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

AS_IT_IS, CHANGED, TUNED = "as it is", "an optimised input", "the decoder trained on the other half"


class Group(Attack):
    """Whether the measuring network takes completions for pictures of the group that was to be forgotten."""

    name = "group"
    title = "The group drawn again"
    sentence = (
        "The measuring network is shown only what was drawn, without an attack and after each way to bring "
        "pictures back: how likely is each of the group, such as a child? Only for the pictures that attackers are not "
        "given."
    )
    order = 45
    own_scale = True
    needs_base = True

    def missing(self, side: Side) -> str | None:
        if side.group() is not None:
            return None
        return "the forget set is not a group of classes that the measuring network knows"

    def pieces(self, side: Side) -> list[Piece]:
        asking = Work(read=side.asking_held_back(), judged=VIEWS * len(side.asked.held_back))
        before = {
            AS_IT_IS: side.untrained,
            **{words: Work() for words, _ in others(side.look())},
            CHANGED: searching(side),
            TUNED: DecoderRelearning().tuning(side),
        }
        return [Piece(words=words, work=work + asking) for words, work in before.items()]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.look()
        yield self._trial(side, task, AS_IT_IS)
        for words, other in others(task):
            yield self._trial(side, other, words)
        change = found_change(side)
        yield self._trial(side, task, CHANGED, lambda batch: changed(batch, change))
        yield self._trial(side, DecoderRelearning().tuned(side), TUNED)

    def _trial(self, side: Side, task: ImageToImage, words: str, change: Changed | None = None) -> Trial:
        numbers = side.asked.held_back
        return Trial(setting=words, values=group_likelihood(side, task, numbers, change), facts=numbers)


def group_likelihood(side: Side, task: ImageToImage, numbers: list[int], change: Changed | None = None) -> list[float]:
    """(numbers,) the probability, by the measuring network, that what was drawn shows one of the group; mean over
    views."""
    found = side.group()
    assert found is not None
    network, share = found[0](), found[1]
    total = np.zeros(len(numbers))
    for keys in views(len(side.asked), side.seed):
        parts = []
        for _, done, counts in drawn_in_batches(task, side.asked.pictures, numbers, keys, change):
            cells = counts[:, 0, :: task.corruption.patch, :: task.corruption.patch].flatten(1)
            hidden = cells if task.corruption.hides else torch.zeros_like(cells)
            probabilities = network.measure(only_drawn(done, hidden, task.corruption.patch))[1]
            assert probabilities is not None
            parts.append(probabilities.double().numpy() @ share)
        total += np.concatenate(parts)
    return [float(value) for value in np.clip(total / VIEWS, 0.0, 1.0)]
