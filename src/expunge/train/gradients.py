"""Steps with more than one backward pass, for methods that use their gradients, or the loss at moved weights."""

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
"logged values of each batch; summed over the batches"
Pass = Callable[[Loss, Collection[str]], tuple[Figures, tuple[int, ...]]]
"passes once over the step's batches of some sets, and adds a loss's gradients to the present ones: (figures, sizes)"


def add_gradients(
    streams: Sequence[Stream], runtime: Runtime, numbers: tuple[range, range], loss: Loss
) -> tuple[Figures, tuple[int, ...]]:
    """Add the gradients of one optimizer step to the present ones; return (figures of each batch, amounts seen of each
    stream).

    Args:
        numbers: numbers of all batches of the step, and the places of this process's.
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
    """The gradients of one optimizer step, for a method's `make_gradient`.

    Every pass goes over all batches of the step, on all processes, so that what is done to a gradient is done to that
    of the whole step. Only trained parameters have one.

    Attributes:
        parameters: the trained parameters; all lists of tensors here are in this order, in the shapes of the
            parameters.
        task: the task of the losses.
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
        """Add the gradient of a loss at the current weights to `.grad`.

        The logged value of a term is that of its first computation in the step, so compute it first at unmoved
        weights.

        Args:
            of: the loss of one batch of each set.
            sets: "forget" or "retain", or both: the sets that the loss reads; the other is not drawn, and `None` in its
                step.
        """

        def loss(*batches: Any) -> tuple[Tensor | Sequence[Tensor], dict[str, Tensor]]:
            by_set = dict(zip(sets, batches, strict=True))
            step = Step(self.task, by_set.get("forget"), by_set.get("retain"), progress=self._progress)
            found = of(step)
            return found.terms if processes.spread() else found.total, step.figures(found)

        parts, sizes = self._pass(loss, sets)
        known = {name for part in self.figures for name in part} - {"loss"}
        again = any(name in known for part in parts for name in part)
        # A term computed again is not added; but if it is NaN, the sum becomes NaN.
        self.figures += [{"loss": part["loss"] * 0} for part in parts] if again else parts
        self.sizes = tuple(a + b for a, b in zip(self.sizes, sizes, strict=True)) if self.sizes else sizes

    def take(self) -> list[Tensor]:
        """Take the gradients out of `.grad`, leaving it empty; 0 for parameters that no pass reached."""
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
        """Context with moved weights. At the end they are bit-identical to before, running statistics too."""
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
        task: the task of its losses.
        sets: the set of each stream, "forget" or "retain".
        make: writes the step's gradient to `.grad` of the trained parameters.
        progress: returns the share of steps done, called in each.
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
        """Compute it; return (figures of each batch, amounts run through the model of each stream, counting repeated
        passes)."""
        of_set = dict(zip(self.sets, streams, strict=True))

        def one_pass(loss: Loss, sets: Collection[str]) -> tuple[Figures, tuple[int, ...]]:
            figures, seen = add_gradients([of_set[name] for name in sets], runtime, numbers, loss)
            sizes = dict(zip(sets, seen, strict=True))
            return figures, tuple(sizes.get(name, 0) for name in self.sets)

        gradients = Gradients(model, parameters, self.task, one_pass, self.progress())
        self.make(gradients)
        return gradients.figures, gradients.sizes
