"""Measures as data: a measure's name, unit, direction and words; and the declarations of a kind of model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Literal

from expunge.core.score import Score, Which
from expunge.runs.check import Required, Threshold

if TYPE_CHECKING:
    import numpy as np

Family = Literal["forgetting", "utility"]
Direction = Literal["better", "worse"]

FORGET_SPLITS = ("forget", "forget_test")
"splits of the forget set: trained on, and held back"
TARGET = "forget/"
"prefix of the split of one of several targets; its name follows"


def of_forget(split: str) -> bool:
    """Whether a split is of the forget set: all of it, or one target of several."""
    return split in FORGET_SPLITS or split.startswith(TARGET)


@dataclass(frozen=True, slots=True)
class Measure:
    """Everything about a measure, in one place.

    Attributes:
        name: name in scores and thresholds.
        title: its full name in the report.
        sentence: definition and best value, for the report; may be empty.
        unit: unit of its scores.
        higher_is: meaning of a higher value.
        on_forget: the same on the forget set, if different.
        family: its group in the report. None: forgetting on the forget set, utility on every other split.
        axis: label of an axis of its values; measures with the same axis are drawn on one. None: the unit.
        percent: values are shares, shown as percentages.
        logarithmic: examples are logarithms of what the score is a mean of.
        aim: the best value on the forget set, if neither the highest nor the lowest.
    """

    name: str
    title: str
    sentence: str
    _: KW_ONLY
    unit: str = ""
    higher_is: Direction = "worse"
    on_forget: Direction | None = None
    family: Family | None = None
    axis: str | None = None
    percent: bool = False
    logarithmic: bool = False
    aim: str | None = None

    def family_on(self, split: str) -> Family:
        """Whether a score on this split is about forgetting or utility."""
        return self.family or ("forgetting" if of_forget(split) else "utility")

    def score(
        self,
        split: str,
        model: Which,
        estimate: tuple[float, float, float],
        examples: Sequence[float] | np.ndarray = (),
        n: int | None = None,
        unit: str | None = None,
    ) -> Score:
        """A score of this measure.

        Args:
            estimate: the value and the limits of its 95 % interval, in the measure's unit.
            examples: the values of the examples measured, in a fixed order.
            n: their number, if their values are not saved.
            unit: if it differs from the measure's.
        """
        value, low, high = estimate
        on_forget = self.on_forget if of_forget(split) else None
        return Score(
            measure=self.name,
            split=split,
            model=model,
            value=value,
            low=low,
            high=high,
            n=len(examples) if n is None else n,
            higher_is=on_forget or self.higher_is,
            unit=self.unit if unit is None else unit,
            examples=tuple(map(float, examples)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A kind of model's measures and thresholds.

    Attributes:
        measures: in the order of the report.
        thresholds: of its recipe's verdict, in the order of the checks.
        splits: the words of splits that only this kind has; a name that ends in / is a prefix.
        apart: splits, or beginnings of splits, with a section of their own, left out of the tables of all scores.
    """

    measures: tuple[Measure, ...]
    thresholds: tuple[Threshold | Required, ...] = ()
    splits: Mapping[str, str] = field(default_factory=dict)
    apart: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Measure:
        """The measure of this name."""
        return next(measure for measure in self.measures if measure.name == name)
