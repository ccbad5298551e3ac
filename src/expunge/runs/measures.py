"""Finding measures, thresholds and splits by name, for their words: those of all kinds of models, then of other
packages."""

from __future__ import annotations

from functools import cache

from expunge.runs.check import Threshold
from expunge.runs.extras import installed
from expunge.runs.kinds import kinds_by_name
from expunge.runs.measure import Declared, Measure


@cache
def _declared() -> list[Declared]:
    return list({kind.measures: kind.declared() for kind in kinds_by_name().values()}.values())


def measures() -> dict[str, Measure]:
    """The measures that kinds of models declare, in the order of the report."""
    return {measure.name: measure for declared in _declared() for measure in declared.measures}


def thresholds() -> dict[str, Threshold]:
    """The thresholds that kinds of models declare."""
    every = (threshold for declared in _declared() for threshold in declared.thresholds)
    return {threshold.name: threshold for threshold in every if isinstance(threshold, Threshold)}


def measure(name: str) -> Measure | None:
    """The measure of this name; other packages are searched only if no kind of model has it."""
    known = measures().get(name)
    if known is not None:
        return known
    return next((each for extra in installed().values() for each in extra.measures if each.name == name), None)


def threshold(name: str) -> Threshold | None:
    """The threshold of this name; as `measure`."""
    known = thresholds().get(name)
    if known is not None:
        return known
    return next((each for extra in installed().values() for each in extra.thresholds if each.name == name), None)


def split_words(name: str) -> str | None:
    """The name in words of a split that only one kind of model has; None for others."""
    for declared in _declared():
        for split, words in declared.splits.items():
            if name == split:
                return words
            if split.endswith("/") and name.startswith(split):
                return words + name.removeprefix(split).replace("_", " ").strip()
    return None


def shown_apart(split: str) -> bool:
    """Whether this split has a section of its own."""
    return any(split.startswith(each) for declared in _declared() for each in declared.apart)
