"""What an audit has to do, counted, and how long it takes by what one of each took on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

END = 0.03
"share of a budget that is kept for writing the pages"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Amounts of work; or, as rates, the seconds that one of each takes.

    Attributes:
        read: tokens, or pictures, that run forward through a model.
        trained: those that run forward and back.
        steps: optimizer steps on all weights, besides `trained`.
        written: tokens that are written.
        changed: times that all matrices are changed.
        loaded: models that are loaded.
        fitted: pictures that run forward and back through a network that is trained here to measure others.
        judged: pictures that run forward through such a network.
    """

    read: float = 0.0
    trained: float = 0.0
    steps: float = 0.0
    written: float = 0.0
    changed: float = 0.0
    loaded: float = 0.0
    fitted: float = 0.0
    judged: float = 0.0

    def __add__(self, other: Work) -> Work:
        return Work(**{name: getattr(self, name) + getattr(other, name) for name in KINDS})

    def __mul__(self, times: float) -> Work:
        return Work(**{name: getattr(self, name) * times for name in KINDS})

    def seconds(self, rates: Work) -> float:
        """What it takes at these rates."""
        return float(sum(getattr(self, name) * getattr(rates, name) for name in KINDS))


KINDS = tuple(each.name for each in fields(Work))


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of an attack, before which the clock is looked at.

    Attributes:
        words: what is tried, as the page lists what was not made.
        trials: that come of it; None: all that are left.
    """

    words: str
    work: Work
    trials: int | None = 1


def total(pieces: Sequence[Piece]) -> Work:
    """The work of all pieces."""
    return sum((piece.work for piece in pieces), Work())


class Budget:
    """The time that an audit may take, and what is left of it.

    Args:
        seconds: None: as long as it takes.
        begun: when it began, by `now`.

    Attributes:
        rates: seconds that one of each kind of work takes here, as it was measured.
        after: work that is still to be done when the attacks are over.
        slower: how much longer work took than the rates say, 1 or more: other programs may have come.
    """

    def __init__(self, seconds: float | None, begun: float, now: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self.begun, self.now = seconds, begun, now
        self.rates, self.after = Work(), Work()
        self.slower = 1.0
        self._predicted = self._took = 0.0

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return self.now() - self.begun

    def predicted(self, work: Work) -> float:
        """Seconds that work will take, as things go."""
        return work.seconds(self.rates) * self.slower

    @property
    def left(self) -> float:
        """Seconds for attacks: what is to come after them is taken off."""
        if self.seconds is None:
            return float("inf")
        return self.seconds * (1 - END) - self.spent - self.predicted(self.after)

    def fits(self, work: Work) -> bool:
        """Whether there is time for it."""
        return self.predicted(work) <= self.left

    def note(self, work: Work, took: float) -> None:
        """Learn from what work took. Half of what is known of the past counts on, so that a change of pace is seen."""
        self._predicted = self._predicted / 2 + work.seconds(self.rates)
        self._took = self._took / 2 + took
        if self._predicted > 0:
            self.slower = max(1.0, self._took / self._predicted)
