"""What an attack on an image classifier is, and what it is given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import ClassVar

from expunge.kinds.classifier.attacks.examples import Examples, known
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.audit import Trial
from expunge.runs.plugins import named_in


@dataclass(slots=True, kw_only=True)
class Side:
    """One side of an audit: a model, and the pictures that it is asked for. The control is another model, or other pictures.

    Attributes:
        look: gives the model for looking; it is loaded once.
        fresh: loads a copy of the model that may be changed.
        base: gives the base model, for looking.
        reference: gives a model that was trained without the forget set, for looking, where the control is one.
        retain: pictures of the retain set.
        holdout: pictures of the same classes that no model saw, as many as `asked` has at most, where there are some.
        seed: decides every draw.
        show: called with (share, what is done).
    """

    look: Callable[[], ImageClassifier]
    fresh: Callable[[], ImageClassifier]
    base: Callable[[], ImageClassifier]
    reference: Callable[[], ImageClassifier] | None
    asked: Examples
    retain: Pictures
    holdout: Examples | None
    settings: ImageAudit
    seed: int = 0
    show: Callable[[float, str], None] = field(default=lambda share, doing: None)

    def trial(
        self,
        task: ImageClassifier,
        setting: str,
        numbers: list[int] | None = None,
        family: str = "",
        at: float | None = None,
    ) -> Trial:
        """What a model knows of the pictures of these numbers, or of all."""
        numbers = list(range(len(self.asked))) if numbers is None else numbers
        values = known(task, self.asked.some(numbers))
        return Trial(setting=setting, values=values, facts=numbers, family=family, at=at)


class Attack(ABC):
    """One attack; a file in this folder with a class on top of this one. Nothing lists it.

    Attributes:
        name: on the command line.
        title, sentence: for the report: what it is, and what is tried.
        order: attacks are carried out by it; what tells most for its time comes first.
        own_scale: its values are no probabilities of the true class, so that it is carried out on the base model, too.
        needs_base: of an attack with a scale of its own: it is left out where the base model does no better than the control.
        version: raise it when what its results mean changes.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    sentence: ClassVar[str]
    order: ClassVar[int]
    own_scale: ClassVar[bool] = False
    needs_base: ClassVar[bool] = False
    version: ClassVar[int] = 1

    def missing(self, side: Side) -> str | None:
        """Why it cannot be carried out here; None where it can."""
        return None

    @abstractmethod
    def cost(self, side: Side) -> float:
        """Pictures that run forward through the model on one side; a picture that is trained on counts three."""

    @abstractmethod
    def carry_out(self, side: Side) -> Iterable[Trial]:
        """What the model still knows, setting by setting; the same settings in the same order on either side."""

    def notes(self, side: Side) -> dict[str, object]:
        """Further figures on the unlearned side."""
        return {}


def attacks() -> list[Attack]:
    """Every attack, in the order in which they are carried out."""
    from expunge.kinds.classifier import attacks as room

    return sorted((kind() for kind in named_in(room, Attack)), key=lambda attack: (attack.order, attack.name))
