"""Steps of more than one backward pass: of methods that look at their gradients, or at the loss beside the weights."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from expunge.core import processes
from expunge.train import shards
from expunge.train.runtime import Loss, Runtime
from expunge.train.step import Loss as Terms
from expunge.train.step import Step, Task

if TYPE_CHECKING:
    from expunge.train.loop import Stream

Figures = list[dict[str, Tensor]]
"what is logged of each batch; it adds up over the batches"
Pass = Callable[[Loss, Collection[str]], tuple[Figures, tuple[int, ...]]]
"goes once through the step's batches of some sets, and adds a loss's gradients to those that are there: (figures, sizes)"


def add_gradients(
    streams: Sequence[Stream], runtime: Runtime, numbers: tuple[range, range], loss: Loss
) -> tuple[Figures, tuple[int, ...]]:
    """Add the gradients of one optimizer step to those that are there; (figures of each batch, what was seen of each stream).

    Args:
        numbers: of all batches of the step, and places of those that are this process's.
    """
    parts: Figures = []
    sizes = [0] * len(streams)
    shares = len(numbers[0]) if streams[0].means else 1
    runtime.begin_pass()
    batches = zip(*(stream.batches(*numbers) for stream in streams), strict=True)
    for place, drawn in zip(numbers[1], batches, strict=True):
        with runtime.micro_step(place, last=place == numbers[1][-1]):
            terms, figures = runtime.inside(loss, *(batch for batch, _ in drawn))
            if shares > 1:
                terms = terms / shares if isinstance(terms, Tensor) else [term / shares for term in terms]
                figures = {name: figure / shares for name, figure in figures.items()}
            value = runtime.backward(terms)
        parts.append({"loss": value, **figures})
        sizes = [size + more for size, (_, more) in zip(sizes, drawn, strict=True)]
    return parts, tuple(sizes)


class Gradients:
    """The gradients of one optimizer step, as a method's `make_gradient` makes them.

    Every pass goes over all batches of the step, on all processes, so that what is done to a gradient is done to that of
    the whole step. Only what is trained has one.

    Attributes:
        parameters: what is trained; all lists of tensors here are in this order, in the shapes of the parameters.
        task: what the losses are of.
    """

    def __init__(
        self,
        model: nn.Module,
        parameters: Collection[nn.Parameter],
        task: Task,
        one_pass: Pass,
        progress: float = 0.0,
    ) -> None:
        self.parameters = list(parameters)
        self.task, self._model, self._pass, self._progress = task, model, one_pass, progress
        self.figures: Figures = []
        self.sizes: tuple[int, ...] = ()

    def add(self, of: Callable[[Step], Terms], *sets: str) -> None:
        """Add the gradient of a loss to `.grad`, as the weights are now.

        What is logged of a term is what it was when it was first made in the step, so make it first where the weights are
        not moved.

        Args:
            of: the loss of one batch of each set.
            sets: "forget" or "retain", or both: what the loss reads; the other is not drawn, and `None` in its step.
        """

        def loss(*batches: Any) -> tuple[Tensor | Sequence[Tensor], dict[str, Tensor]]:
            by_set = dict(zip(sets, batches, strict=True))
            step = Step(self.task, by_set.get("forget"), by_set.get("retain"), progress=self._progress)
            found = of(step)
            return found.terms if processes.spread() else found.total, step.figures(found)

        parts, sizes = self._pass(loss, sets)
        known = {name for part in self.figures for name in part} - {"loss"}
        again = any(name in known for part in parts for name in part)
        # Of a term that is made again nothing is added up; but where it is not a number, the sum is to be none.
        self.figures += [{"loss": part["loss"] * 0} for part in parts] if again else parts
        self.sizes = tuple(a + b for a, b in zip(self.sizes, sizes, strict=True)) if self.sizes else sizes

    def take(self) -> list[Tensor]:
        """What is in `.grad`, which is then empty; 0 for what no pass reached."""
        found = [torch.zeros_like(each) if each.grad is None else each.grad.detach() for each in self.parameters]
        for each in self.parameters:
            each.grad = None
        return found

    def norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Euclidean length over all of them together, a scalar; wherever their parts are."""
        return shards.whole(nn.utils.get_total_norm(gradients))

    def dot(self, one: Sequence[Tensor], other: Sequence[Tensor]) -> Tensor:
        """Their inner product over all of them together, a scalar; wherever their parts are."""
        dtype = torch.float32 if one[0].device.type == "mps" else torch.float64  # Apple's devices have no float64
        parts = [(a * b).sum(dtype=dtype) for a, b in zip(one, other, strict=True)]
        return shards.whole(sum(parts[1:], start=parts[0]))

    @contextmanager
    def moved(self, by: Sequence[Tensor]) -> Iterator[None]:
        """Inside, the weights are moved. On the way out they have the same bits as before, running statistics too."""
        held = [*self.parameters, *self._model.buffers()]
        kept = [each.detach().clone() for each in held]
        try:
            with torch.no_grad():
                for parameter, more in zip(self.parameters, by, strict=True):
                    parameter.add_(more)
            yield
        finally:
            with torch.no_grad():
                for each, before in zip(held, kept, strict=True):
                    each.copy_(before)


@dataclass(frozen=True, slots=True)
class OwnGradient:
    """In the place of a loss: how a method makes the gradient of an optimizer step itself.

    Attributes:
        task: what its losses are of.
        sets: which set each stream is, "forget" or "retain".
        make: leaves the step's gradient in `.grad` of what is trained.
        progress: the share of the steps that are done, asked for in each.
    """

    task: Task
    sets: tuple[str, ...]
    make: Callable[[Gradients], None]
    progress: Callable[[], float] = lambda: 0.0

    def made(
        self,
        model: nn.Module,
        parameters: Collection[nn.Parameter],
        streams: Sequence[Stream],
        runtime: Runtime,
        numbers: tuple[range, range],
    ) -> tuple[Figures, tuple[int, ...]]:
        """Make it; (figures of each batch, what ran through the model of each stream: twice what is run twice)."""
        of_set = dict(zip(self.sets, streams, strict=True))

        def one_pass(loss: Loss, sets: Collection[str]) -> tuple[Figures, tuple[int, ...]]:
            figures, seen = add_gradients([of_set[name] for name in sets], runtime, numbers, loss)
            sizes = dict(zip(sets, seen, strict=True))
            return figures, tuple(sizes.get(name, 0) for name in self.sets)

        gradients = Gradients(model, parameters, self.task, one_pass, self.progress())
        self.make(gradients)
        return gradients.figures, gradients.sizes
