"""What attacks that change the weights once, without training, share, whatever kind of model it is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from expunge.ops.rounding import Rounding
from expunge.runs.attacking import AnyAttack
from expunge.runs.audit import Trial
from expunge.runs.work import Piece, Work

Change = Callable[[str, Tensor], Tensor]
"what is made of a matrix, given its name and itself"


class WeightSide(Protocol):
    """What such an attack asks of one side of an audit, of any kind of model.

    Attributes:
        look, fresh, base: give the model for looking, a copy that may be changed, and the base model for looking; as tasks
            with a `model`.
        retrained: whether the control is a model that was trained without the forget set.
        seed: decides every draw.
        show: called with (share, what is done).
    """

    @property
    def look(self) -> Callable[[], Any]: ...
    @property
    def fresh(self) -> Callable[[], Any]: ...
    @property
    def base(self) -> Callable[[], Any]: ...
    @property
    def retrained(self) -> bool: ...
    @property
    def seed(self) -> int: ...
    @property
    def show(self) -> Callable[[float, str], None]: ...

    def matrices(self, task: Any) -> Mapping[str, nn.Parameter]:
        """The matrices that tools quantise and prune, by name."""

    def by_column(self, task: Any) -> Set[str]:
        """Names of those that hold a column for each output, and not a row as `nn.Linear` does."""

    def roundings(self) -> Mapping[str, Rounding]:
        """Roundings that such models are stored with, in words."""

    def unlike_base(self) -> str | None:
        """How the form of the weights differs from the base model's, in words; None where it does not."""

    def asking(self) -> float:
        """Tokens, or pictures, that are read where everything is asked for once."""

    def trial(self, task: Any, setting: str) -> Trial:
        """What a model knows."""


class OfWeights(AnyAttack[WeightSide]):
    """An attack that changes matrices one by one; the model is asked again after each change."""

    @abstractmethod
    def settings(self, side: WeightSide) -> Sequence[str]:
        """What is done, in words."""

    @abstractmethod
    def changes(self, task: Any, side: WeightSide) -> Iterable[Change]:
        """What each setting makes of a matrix by its name: called with the matrices in the order of `matrices`."""

    def pieces(self, side: WeightSide) -> list[Piece]:
        return [
            Piece(words=words, work=Work(read=side.asking(), changed=1, loaded=0 if place else 1))
            for place, words in enumerate(self.settings(side))
        ]

    def carry_out(self, side: WeightSide) -> Iterator[Trial]:
        task = side.fresh()
        task.model.requires_grad_(False)
        found = side.matrices(task)
        before = {name: held(parameter.detach()) for name, parameter in found.items()}
        settings = self.settings(side)
        for number, (words, change) in enumerate(zip(settings, self.changes(task, side), strict=True)):
            side.show(number / len(settings), f"{self.title.lower()}: {words}")
            for name, parameter in found.items():
                parameter.data.copy_(change(name, before[name].to(parameter.dtype)))
            yield side.trial(task, words)


def held(weight: Tensor) -> Tensor:
    """A copy in the narrowest type that holds the same numbers: weights that were stored in 16 bits take half."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = weight.to(dtype)
        if torch.equal(narrow.to(weight.dtype), weight):
            return narrow if narrow.dtype != weight.dtype else weight.clone()
    return weight.clone()
