"""Base class of methods: hyper-parameters, needs, and a loss or an operation on a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from expunge.core.settings import Part
from expunge.train.step import LayeredTask, Loss, Step

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.kinds.language.signals.signal import Signal
    from expunge.train.gradients import Gradients


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Which sets a method draws, and on which kinds of model it works.

    Attributes:
        forget: whether batches of the forget set are drawn.
        retain: whether batches of the retain set are drawn: never, always, if `retain_weight` is above 0, or as for the
            wrapped method.
        retain_labels: whether the loss reads the retain set's labels, which are then made by `retain_target`.
        validation: whether held-back pictures are needed.
        kinds: names of the kinds of model that the method works on.
    """

    forget: bool = True
    retain: Literal["never", "always", "weighted", "wrapped"] = "never"
    retain_labels: bool = True
    validation: bool = False
    kinds: tuple[str, ...] = ("causal_lm", "image_classifier")


Wanted: TypeAlias = "str | tuple[str, dict[str, Any]] | Signal"
"a signal by its name, by name and settings, or itself"


class Method(Part):
    """Base of all methods. A subclass is one file, or a folder with a method.py; it defines `loss` or `apply`.

    `loss` is for training with one loss from beginning to end: the loop is shared, and the method works on
    every kind of model. `apply` is for methods with phases, or without training: it changes `work.model`; `work` is the
    session of the model's kind, such as `expunge.kinds.classifier.session.Work`. A method whose step is more than one
    backward pass of its loss also defines `make_gradient`.

    Fields are hyper-parameters with a docstring each; the class docstring holds formula and citation.
    """

    needs: ClassVar[Needs] = Needs()
    signals: ClassVar[tuple[Wanted, ...]] = ()
    "signals of the sets to compute before training; the loss reads each as `step.signal(name)`"
    kept_beside: ClassVar[str | None] = None
    """what its models need at inference, in words that follow its name; None: it leaves a plain model. A sentence
    for every reader of the results"""

    def wants(self) -> Sequence[Wanted]:
        """The signals that the loss reads with these hyper-parameters; `signals`, if these do not matter."""
        return self.signals

    @property
    def signal_names(self) -> tuple[str, ...]:
        """The names of the wanted signals."""
        return tuple(
            each if isinstance(each, str) else each[0] if isinstance(each, tuple) else each.name
            for each in self.wants()
        )

    @property
    def draws_retain(self) -> bool:
        """Whether this method, with these hyper-parameters, trains on the retain set."""
        if self.needs.retain == "weighted":
            return float(getattr(self, "retain_weight", 0.0)) > 0
        return self.needs.retain == "always"

    @property
    def scheduled(self) -> bool:
        """Whether the loss reads `step.progress`: then it needs a loop that reports its progress."""
        return False

    @property
    def diverges(self) -> bool:
        """Whether the loss falls without end on the forget set, so that a training has to be stopped in time."""
        return False

    @property
    def carried_out(self) -> Method:
        """The method whose needs count: this one, or the one that it wraps."""
        return self

    def with_retain(self, step: Step, forget: Tensor) -> Loss:
        """The loss of most methods: a term of the forget set and, with weight `retain_weight`, the retain set's
        likelihood."""
        if not self.draws_retain:
            return Loss(forget=forget)
        forget = step.before_next(forget)
        return Loss(forget=forget, retain=float(getattr(self, "retain_weight", 1.0)) * step.nll(step.retain))

    @property
    def made_from(self) -> dict[str, Any]:
        """Further inputs of the model: digests of the files that fields name."""
        return {}

    def trains(self, name: str) -> bool:
        """Whether the parameter of this name is trained."""
        return True

    def found_in(self, task: LayeredTask) -> Collection[str] | None:
        """The names of the trained parameters, for a method that searches them in the model.

        None: those by `trains`.
        """
        return None

    @classmethod
    def citation(cls) -> str:
        """The first sentence of the docstring: the method's name and source."""
        return (inspect.getdoc(cls) or cls.__name__).split("\n\n")[0].replace("\n", " ")

    @classmethod
    def formulas(cls) -> str:
        """The formulas of the docstring, in LaTeX, a paragraph each."""
        found = re.findall(r"\$\$(.+?)\$\$", inspect.getdoc(cls) or "", re.DOTALL)
        return "\n\n".join(" ".join(formula.split()) for formula in found)

    @classmethod
    def described(cls) -> str:
        """The docstring for a terminal: its formulas set off, in LaTeX."""
        return re.sub(r"\$\$(.+?)\$\$", r"    \1", inspect.getdoc(cls) or cls.__name__, flags=re.DOTALL)

    @classmethod
    def has_loss(cls) -> bool:
        return cls.loss is not Method.loss

    @classmethod
    def makes_gradient(cls) -> bool:
        """Whether a step is more than a backward pass of its loss."""
        return cls.make_gradient is not Method.make_gradient

    def apply(self, work: Any) -> None:
        raise TypeError(f"{type(self).__name__} defines no apply")

    def loss(self, step: Step) -> Loss:
        raise TypeError(f"{type(self).__name__} defines no loss")

    def make_gradient(self, gradients: Gradients) -> None:
        """Leave the gradient of an optimizer step in `.grad`, instead of that of `loss`; it keeps no state."""
        raise TypeError(f"{type(self).__name__} computes no gradient of its own")
