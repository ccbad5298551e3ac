"""Work of all processes together on a model: each does pieces of a job, on a copy of it or with its shard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeVar

from transformers import PreTrainedModel

from expunge.core.processes import has_helpers, helped
from expunge.train.parts import parts_of

T = TypeVar("T")
Own = Callable[[Sequence[int]], list[Any]]
"does the pieces of a job with these numbers; results as JSON"


class Shared:
    """A model shared with other processes.

    Attributes:
        stored: where other processes find the same model; None for one that is changed in memory.
    """

    model: PreTrainedModel
    stored: dict[str, Any] | None = None

    @property
    def is_shared(self) -> bool:
        """Whether other processes wait for this one, and know the model."""
        return self.stored is not None and has_helpers()

    def in_turns(self, work: Callable[[], T]) -> T:
        """Do this process's share of the work on the model; a sharded model's layers are gathered."""
        parts = parts_of(self.model)
        with nullcontext() if parts is None else parts.in_turns():
            return work()

    def shared(self, job: str, about: Callable[[], Sequence[Any]], pieces: int, own: Own) -> list[Any]:
        """The pieces of a job on this model, done by all processes that wait for this one: see `processes.helped`.

        Args:
            about: returns the arguments sent to the others in addition to the model, as JSON.
        """
        if not self.is_shared:
            return own(range(pieces))
        return helped(job, [self.stored, *about()], pieces, lambda numbers: self.in_turns(lambda: own(numbers)))
