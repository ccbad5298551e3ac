"""Other corruptions: are pictures that are no longer drawn under one corruption drawn under another?"""

from __future__ import annotations

from collections.abc import Iterator

from expunge.kinds.generator.attacks.attack import Attack, Side
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.measures.leaks import OTHERS
from expunge.kinds.generator.task import ImageToImage
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work


class OtherCorruptions(Attack):
    """Pictures under other corruptions than the one used to unlearn."""

    name = "corruption"
    title = "Other corruptions"
    sentence = "Pictures are corrupted in other ways than the one under which they were forgotten, and completed."
    order = 30
    own_scale = True
    needs_base = True

    def pieces(self, side: Side) -> list[Piece]:
        return [Piece(words=words, work=Work(read=side.asking())) for words, _ in others(side.look())]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        for words, task in others(side.look()):
            yield side.trial(task, words)


def others(task: ImageToImage) -> Iterator[tuple[str, ImageToImage]]:
    """(description, the model with it) of every other corruption."""
    for name, strength in OTHERS:
        corruption = Corruption(name, strength, task.corruption.patch)
        if (name, corruption.value) != (task.corruption.name, task.corruption.value):
            yield f"{name} {strength:g}", task.under(corruption)
