"""What all processes do with a model together: each makes pieces of a job, on a copy of it or with their parts of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from transformers import PreTrainedModel

from expunge.core.processes import has_helpers, helped
from expunge.train.parts import parts_of

T = TypeVar("T")
Own = Callable[[Sequence[int]], list[Any]]
"makes pieces of a job, of these numbers, as JSON"


class Shared:
    """A model that other processes can work on, too.

    Attributes:
        stored: where other processes find this very model; None of one that is changed in memory.
    """

    model: PreTrainedModel
    stored: dict[str, Any] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes wait for this one, and know the model."""
        return self.stored is not None and has_helpers()

    def in_turns(self, work: Callable[[], T]) -> T:
        """Do this process's share of what all do with the model: of one that lies in parts, layers are put together."""
        parts = parts_of(self.model)
        with nullcontext() if parts is None else parts.in_turns():
            return work()

    def shared(self, job: str, about: Callable[[], Sequence[Any]], pieces: int, own: Own) -> list[Any]:
        """The pieces of a job on this model, made by all processes that wait for this one: see `processes.helped`.

        Args:
            about: gives what the others are told besides the model, as JSON.
        """
        if not self.is_shared:
            return own(range(pieces))
        return helped(job, [self.stored, *about()], pieces, lambda numbers: self.in_turns(lambda: own(numbers)))
