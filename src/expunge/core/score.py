"""What a measure returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from expunge.core.processes import agreed, first_alone

Which = Literal["base", "unlearned", "retrained"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure with what it needs to be believed.

    `value` with its 95 % interval `[low, high]` over `n` examples; `examples` are the per-example values the interval
    was made from, in a fixed order, so that two models can be compared in pairs.
    """

    measure: str
    split: str
    model: Which
    value: float
    low: float
    high: float
    n: int
    higher_is: Literal["better", "worse"]
    unit: str
    examples: tuple[float, ...] = field(default=(), repr=False)

    def row(self) -> dict[str, Any]:
        """The score as a row of `scores.json`."""
        names = ("measure", "split", "model", "value", "low", "high", "n", "higher_is", "unit")
        return {name: getattr(self, name) for name in names}


def scores_on_all(make: Callable[[], list[Score]]) -> list[Score]:
    """The scores that the first process makes, with the help of the others, on all of them."""
    made = first_alone(lambda: [asdict(score) for score in make()])
    return [Score(**{**row, "examples": tuple(row["examples"])}) for row in agreed(made) or ()]
