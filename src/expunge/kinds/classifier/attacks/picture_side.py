"""One side of an audit of a model of pictures: shared by classifiers and generators."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from expunge.kinds.classifier.attacks.examples import Examples
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import Pictures
from expunge.ops.layers import leaves
from expunge.ops.rounding import ROUNDINGS, Rounding
from expunge.runs.audit import Trial

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class PictureSide(ABC, Generic[T]):
    """One side of an audit: a model T, and the pictures to ask about. The control is another model, or other
    pictures.

    Attributes:
        look: returns the model for inference; it is loaded once.
        fresh: loads a copy of the model that may be changed.
        base: returns the base model for inference.
        reference: returns a model trained without the forget set for inference, if the control is one.
        retain: pictures of the retain set.
        holdout: pictures of the same kind that no model saw, as many as `asked` has at most, if there are some.
        seed: seed of every draw.
        show: called with (share done, current work).
    """

    look: Callable[[], T]
    fresh: Callable[[], T]
    base: Callable[[], T]
    reference: Callable[[], T] | None
    asked: Examples
    retain: Pictures
    holdout: Examples | None
    settings: ImageAudit
    seed: int = 0
    show: Callable[[float, str], None] = field(default=lambda share, doing: None)

    @abstractmethod
    def values(self, task: T, numbers: list[int]) -> list[float]:
        """(numbers,) how well a model knows each of these pictures, from 0 to 1."""

    @abstractmethod
    def trainable(self, task: T) -> Iterable[nn.Parameter]:
        """The weights that an attacker trains."""

    @abstractmethod
    def passed(self, task: T, pictures: Pictures) -> None:
        """Run pictures forward through a model once."""

    @abstractmethod
    def loss(self, task: T, batch: Pictures, held: bool, draw: str) -> Tensor:
        """The loss that such a model is trained with, on a batch.

        Args:
            held: keep the statistics of batch normalisation: a few pictures of few classes would change them.
            draw: name of the batch's random draw.
        """

    @property
    def retrained(self) -> bool:
        """Whether the control is a model that was trained without the forget set."""
        return self.reference is not None

    def asking(self) -> float:
        """Pictures that run forward through the model when all are asked for once."""
        return float(len(self.asked))

    def matrices(self, task: Any) -> dict[str, nn.Parameter]:
        """The weights of all linear layers and convolutions, by name: those that tools quantise and prune."""
        return {
            f"{name}.weight": weight
            for name, module in leaves(task.model, nn.Linear, nn.Conv2d)
            if isinstance(weight := module.weight, nn.Parameter)
        }

    def by_column(self, task: Any) -> set[str]:
        """None: all have a row for each output."""
        return set()

    def roundings(self) -> dict[str, Rounding]:
        """Quantisations that models of pictures are stored with."""
        return ROUNDINGS

    def unlike_base(self) -> str | None:
        """The first matrix with another shape than in the base model, in words."""
        own, base = (
            {name: tuple(weight.shape) for name, weight in self.matrices(task).items()}
            for task in (self.look(), self.base())
        )
        unlike = [name for name in (*own, *base) if own.get(name) != base.get(name)]
        if not unlike:
            return None
        words = " and ".join(f"{shapes.get(unlike[0], 'absent')}" for shapes in (own, base))
        return f"the model has another shape than the base model: {unlike[0]} {words}"

    def trial(
        self, task: T, setting: str, numbers: list[int] | None = None, family: str = "", at: float | None = None
    ) -> Trial:
        """How well a model knows the pictures of these numbers, or of all."""
        numbers = list(range(len(self.asked))) if numbers is None else numbers
        return Trial(setting=setting, values=self.values(task, numbers), facts=numbers, family=family, at=at)
