"""Shared by attacks that change the weights once, without training, for every kind of model."""

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
"function of a matrix's name and the matrix to the changed one"


class WeightSide(Protocol):
    """What such an attack needs from one side of an audit, for any kind of model.

    Attributes:
        look, fresh, base: return the model for inference, a copy that may be changed, and the base model for inference;
            as tasks with a `model`.
        retrained: whether the control is a model that was trained without the forget set.
        seed: seed of every draw.
        show: called with (share done, current work).
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
        """Names of those with a column for each output, instead of a row as in `nn.Linear`."""

    def roundings(self) -> Mapping[str, Rounding]:
        """Quantisations that such models are stored with, in words."""

    def unlike_base(self) -> str | None:
        """How the shapes of the weights differ from the base model's, in words; None if they do not."""

    def asking(self) -> float:
        """Tokens, or pictures, read when everything is asked for once."""

    def trial(self, task: Any, setting: str) -> Trial:
        """What a model knows."""


class OfWeights(AnyAttack[WeightSide]):
    """An attack that changes matrices one by one; the model is asked again after each change."""

    @abstractmethod
    def settings(self, side: WeightSide) -> Sequence[str]:
        """Description of each setting."""

    @abstractmethod
    def changes(self, task: Any, side: WeightSide) -> Iterable[Change]:
        """The function of each setting from a matrix to the changed one: called with the matrices in the order of
        `matrices`."""

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
    """A copy in the narrowest type that holds the same numbers: weights stored in 16 bits take half."""
    for dtype in (torch.bfloat16, torch.float16):
        narrow = weight.to(dtype)
        if torch.equal(narrow.to(weight.dtype), weight):
            return narrow if narrow.dtype != weight.dtype else weight.clone()
    return weight.clone()
