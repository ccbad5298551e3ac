"""How a measure and a check of the verdict are worded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["forgetting", "utility"]


@dataclass(frozen=True)
class Measure:
    """How a measure is called and explained."""

    name: str
    sentence: str
    family: Family | None = None
    "None: decided by the split (the forget set shows forgetting, everything else utility)"
    axis: str | None = None
    "what an axis of its values is called; measures with the same axis are drawn on one. None: the score's unit"
    percent: bool = False
    "values are shares, shown as percentages"
    logarithmic: bool = False
    "per-example values are logarithms of what the score is a mean of"
    aim: str | None = None
    "what is best on the forget set, where that is neither the highest nor the lowest"


@dataclass(frozen=True)
class Check:
    """How a check of the verdict is called, explained, and in which unit its limit is written."""

    name: str
    sentence: str
    bound: Literal["at most", "at least"]
    unit: Literal[
        "share of before",
        "share of the way",
        "share of retraining",
        "share of the reference",
        "share of the weights",
        "points",
        "share of pictures",
        "chance",
        "area",
        "times before",
        "dB",
    ]
    "the reference: the retrained model where there is one, else the model before"
