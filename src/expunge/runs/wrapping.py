"""Methods that carry out another method."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import field_validator

from expunge.errors import RecipeError
from expunge.runs.method import Method, Needs, Wanted
from expunge.runs.registry import make_wrapped
from expunge.train.step import LayeredTask, Loss, Step

if TYPE_CHECKING:
    from torch import Tensor

    from expunge.kinds.language.session import LanguageWork
    from expunge.train.gradients import Gradients

OUTPUTS = {"nll", "nll_and_truth", "row_nll", "example_nll", "rows", "row_values_and_truth", "hidden", "hidden_at"}
"what a task makes of a batch with the model"


class Wrapping(Method):
    """A method for language models that carries out another one, which its field `of` names."""

    of: str | dict[str, Any] = "npo"
    "the method U: its name, or its name and hyper-parameters"

    @field_validator("of")
    @classmethod
    def _can_be_wrapped(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        make_wrapped(of, cls.__name__.lower())
        return of

    @property
    def carried_out(self) -> Method:
        return make_wrapped(self.of, type(self).__name__.lower())

    def unlearn_once(self, work: LanguageWork) -> None:
        """Carry out the other method; a resumed run reads its weights from the checkpoints."""

        def unlearned() -> dict[str, Tensor]:
            work.carry_out(self.carried_out)
            return work.weights()

        work.put(work.cached("unlearned", unlearned))


class WrappingLoss(Wrapping):
    """A method that trains with another one's loss, and adds to it, or makes something else of its gradients.

    It is a loss itself: adapters, accumulation and resuming are as with any other, and methods that carry out one can carry
    out this. What is asked for before training, and which weights are trained, are the other's.
    """

    needs: ClassVar[Needs] = Needs(retain="wrapped", kinds=("causal_lm",))

    @field_validator("of")
    @classmethod
    def _is_a_loss(cls, of: str | dict[str, Any]) -> str | dict[str, Any]:
        inner = make_wrapped(of, cls.__name__.lower())
        if not inner.has_loss() or inner.makes_gradient() or not inner.needs.forget:
            raise RecipeError(
                f"{cls.__name__.lower()} cannot wrap {of if isinstance(of, str) else of['name']}",
                allowed="a method that is one loss, of the forget set at least, and one backward pass of it",
                next_step="expunge methods lists them: --method.of npo",
            )
        return of

    @cached_property
    def wrapped(self) -> Method:
        """The other method."""
        return make_wrapped(self.of, type(self).__name__.lower())

    @cached_property
    def wrapped_alone(self) -> Method:
        """The other method without its retain term, where it can be without."""
        if self.wrapped.needs.retain != "weighted":
            return self.wrapped
        return self.wrapped.model_copy(update={"retain_weight": 0.0})

    @property
    def carried_out(self) -> Method:
        return self

    @property
    def draws_retain(self) -> bool:
        return self.wrapped.draws_retain

    @property
    def retain_target(self) -> str:
        """What the other method labels the retain set with."""
        return str(getattr(self.wrapped, "retain_target", "text"))

    @property
    def scheduled(self) -> bool:
        return self.wrapped.scheduled

    @property
    def diverges(self) -> bool:
        return self.wrapped.diverges

    def wants(self) -> Sequence[Wanted]:
        return self.wrapped.wants()

    def trains(self, name: str) -> bool:
        return self.wrapped.trains(name)

    def found_in(self, task: LayeredTask) -> Collection[str] | None:
        return self.wrapped.found_in(task)

    def loss(self, step: Step) -> Loss:
        return self.wrapped.loss(replace(step, backward=None))  # what is made of its terms is the wrapper's to say

    def add_part(self, gradients: Gradients, part: Part, make: Callable[[Step], Loss] | None = None) -> None:
        """Add the gradient of one term of the other method's loss to `.grad`.

        Where the term cannot be made without the other set, that one runs through the model as well, without a gradient.

        Args:
            make: of a step; default: `self.part`.
        """
        needs_both = part == "retain" or self.wrapped_alone.draws_retain
        sets = ("forget", "retain") if needs_both else ("forget",)
        gradients.add(make or (lambda step: self.part(step, part)), *sets)

    def part(self, step: Step, part: Part, around: Around | None = None) -> Loss:
        """One term of the other method's loss.

        Args:
            around: a context for what the model makes of batches of the other set.
        """
        method = self.wrapped_alone if part == "forget" else self.wrapped
        one: Any = OneSet(step.task, step.retain, part, around)
        found = method.loss(replace(step, task=one))
        # What is known of the other set by the way is not this pass's to tell.
        step.truth.pop("retain" if part == "forget" else "forget", None)
        return Loss(**{part: getattr(found, part)})


Part = Literal["forget", "retain"]
Around = Callable[[], AbstractContextManager[Any]]


class OneSet:
    """A task whose outputs have a gradient where they are of one of the two sets.

    Args:
        retain: the batch of the retain set. It and the batches among its signals, such as refusals, are of the retain set;
            all others are of the forget set.
        around: a context for outputs of the other set.
    """

    def __init__(self, task: Any, retain: Any, part: Part, around: Around | None = None) -> None:
        self._task, self._part, self._around = task, part, around
        self._retain = [] if retain is None else [retain, *retain.signals.values()]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._task, name)
        if name not in OUTPUTS:
            return found

        def output(batch: Any, *args: Any, **named: Any) -> Any:
            if any(batch is each for each in self._retain) == (self._part == "retain"):
                return found(batch, *args, **named)
            with torch.no_grad():
                if self._around is None:
                    return found(batch, *args, **named)
                with self._around():
                    return found(batch, *args, **named)

        return output
