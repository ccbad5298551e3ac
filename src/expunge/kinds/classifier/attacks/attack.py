"""What an attack on an image classifier is, and what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from expunge.kinds.classifier.attacks.examples import Examples, known
from expunge.kinds.classifier.recipe import ImageAudit
from expunge.kinds.classifier.task import ImageClassifier, Pictures
from expunge.runs.attacking import AnyAttack, found_attacks
from expunge.runs.audit import Trial


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


class Attack(AnyAttack[Side]):
    """One attack; a class on top of this one in a file here, or an entry point of `expunge.attacks`. Nothing lists it."""


def attacks() -> list[Attack]:
    """Every attack, in the order in which they are carried out."""
    from expunge.kinds.classifier import attacks as room

    found: list[Attack] = found_attacks(room, Attack)
    return found
