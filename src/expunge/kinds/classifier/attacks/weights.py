"""What attacks that change the weights once, without training, share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import ClassVar

from torch import Tensor, nn

from expunge.kinds.classifier.attacks.attack import Attack, Side
from expunge.kinds.classifier.task import ImageClassifier
from expunge.ops.layers import leaves
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

Change = Callable[[Tensor], Tensor]


def matrices(task: ImageClassifier) -> dict[str, nn.Parameter]:
    """The weights of all linear layers and convolutions, by name: what tools quantise and prune."""
    return {
        f"{name}.weight": weight
        for name, module in leaves(task.model, nn.Linear, nn.Conv2d)
        if isinstance(weight := module.weight, nn.Parameter)
    }


class OfWeights(Attack):
    """An attack that changes matrices one by one; the model is asked again after each change."""

    settings: ClassVar[tuple[str, ...]]
    "what is done, in words: those of `changes`"

    @abstractmethod
    def changes(self, side: Side) -> Iterable[tuple[str, Change]]:
        """(what is done in words, what it makes of a matrix): called with the matrices in the order of `matrices`."""

    def pieces(self, side: Side) -> list[Piece]:
        return [
            Piece(words=words, work=Work(read=len(side.asked), changed=1, loaded=0 if place else 1))
            for place, words in enumerate(self.settings)
        ]

    def carry_out(self, side: Side) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        found = matrices(task)
        before = {name: weight.detach().clone() for name, weight in found.items()}
        for number, (words, change) in enumerate(self.changes(side)):
            side.show(number / len(self.settings), f"{self.title.lower()}: {words}")
            for name, weight in found.items():
                weight.data.copy_(change(before[name]))
            yield side.trial(task, words)
