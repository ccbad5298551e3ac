"""Scores as rows: base, unlearned and retrained side by side, with the paired change where possible."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from expunge.core.score import Score
from expunge.measures.statistics import paired_interval, paired_share_interval
from expunge.report import numbers, wording
from expunge.runs.measures import measures, shown_apart

MOST_NATS = 700.0
"largest logarithm of a ratio that is still finite"


@dataclass(frozen=True)
class Row:
    """One measure on one split, for the models it was taken on."""

    measure: str
    split: str
    by_model: dict[str, Score]

    @property
    def words(self) -> wording.Measure:
        return wording.measure(self.measure)

    @property
    def label(self) -> str:
        return f"{self.words.title}, {wording.split(self.split)}"

    @property
    def family(self) -> wording.Family:
        return self.words.family_on(self.split)

    @property
    def any(self) -> Score:
        return next(iter(self.by_model.values()))

    @property
    def unit(self) -> str:
        return self.words.axis or self.any.unit or self.words.title

    @property
    def n(self) -> str:
        """Examples measured; all of them if the models differ."""
        return " / ".join(dict.fromkeys(numbers.count(score.n) for score in self.by_model.values()))

    def text(self, model: str) -> tuple[str, str] | None:
        """A model's value and its interval, formatted; None if it was not measured."""
        score = self.by_model.get(model)
        return None if score is None else score_text(score)

    @property
    def better(self) -> str:
        if self.family == "forgetting" and self.words.aim:
            return self.words.aim
        return wording.direction(self.any.higher_is)

    @property
    def change(self) -> str:
        """Unlearned against base, formatted; empty if one of them is missing."""
        before, after = self.by_model.get("base"), self.by_model.get("unlearned")
        return change(before, after) if before and after else ""

    @property
    def worsened(self) -> bool:
        """Whether the unlearned model's score is worse than the base model's; both must be measured."""
        before, after = self.by_model["base"], self.by_model["unlearned"]
        return after.value < before.value if before.higher_is == "better" else after.value > before.value

    @property
    def way(self) -> float | None:
        """Share of the distance from base to retrained model that was covered; None if that distance is not larger than
        the intervals around its ends, or an end is missing."""
        before, after, goal = (self.by_model.get(model) for model in ("base", "unlearned", "retrained"))
        if before is None or after is None or goal is None:
            return None
        if before.low <= goal.high and goal.low <= before.high:
            return None
        return (before.value - after.value) / (before.value - goal.value)


def rows(scores: Iterable[Score]) -> list[Row]:
    """One row per measure and split: known measures in the order of the wording, then the others as they come."""
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for score in scores:
        found.setdefault((score.measure, score.split), {})[score.model] = score
    order = {name: place for place, name in enumerate(measures())}
    table = [Row(measure, split, by_model) for (measure, split), by_model in found.items()]
    return sorted(table, key=lambda row: order.get(row.measure, len(order)))


def without_details(table: Iterable[Row]) -> list[Row]:
    """Rows except those with a section of their own."""
    return [row for row in table if not shown_apart(row.split)]


def worst(table: Iterable[Row]) -> Row | None:
    """The largest damage: the row of utility that got worse by the largest share of the base model's score.

    None if nothing got worse. A score that was 0 before has no share and comes after those with one.
    """
    fallen = [
        (loss, row)
        for loss, row in losses_of_utility(table)
        if loss >= 0 and row.worsened and row.text("base") != row.text("unlearned")
    ]
    return max(fallen, key=lambda each: each[0])[1] if fallen else None


def losses_of_utility(table: Iterable[Row]) -> list[tuple[float, Row]]:
    """Loss of each score of utility, as a share of the base model's; below 0 if it got better, 0 for a score of 0."""
    found = []
    for row in table:
        before, after = row.by_model.get("base"), row.by_model.get("unlearned")
        if row.family == "utility" and before is not None and after is not None:
            loss = (before.value - after.value) * (1 if before.higher_is == "better" else -1)
            found.append((loss / abs(before.value) if before.value else 0.0, row))
    return found


def gaps(table: Iterable[Row], benchmarks: bool = True) -> list[str]:
    """Measures that a reader would expect but were not taken, in addition to the record's list of untested ones.

    `benchmarks`: whether multiple-choice benchmarks are expected, as for language models.
    """
    table = list(table)
    found = []
    if benchmarks and not any(row.measure in ("accuracy", "accuracy_normalised") for row in table):
        found.append(wording.MISSING["benchmarks"])
    if not any("retrained" in row.by_model for row in table):
        found.append(wording.MISSING["retrained"])
    return found


def score_text(score: Score) -> tuple[str, str]:
    percent = wording.measure(score.measure).percent
    return numbers.value(score.value, percent), numbers.interval(score.low, score.high, percent)


def change(before: Score, after: Score, paired: bool = True) -> str:
    """`after` against `before`, with its paired 95 % interval if both have values of the same examples.

    If a score is the mean of its examples the change is their difference. If the examples are logarithms
    (perplexity) it is the ratio. Otherwise, or if not `paired`, there is no interval; nor if none can be computed.
    """
    percent = wording.measure(before.measure).percent
    scale, unit = (100.0, "\u00a0points") if percent else (1.0, "")
    if paired and before.examples and len(before.examples) == len(after.examples):
        if _is_mean(before) and _is_mean(after):
            shares = all(0 <= x <= 1 for x in (*before.examples, *after.examples))
            interval = paired_share_interval if shares else paired_interval
            middle, low, high = (scale * x for x in interval(before.examples, after.examples))
            limits = f" [{_difference(low, percent)}, {_difference(high, percent)}]" if low < high else ""
            return f"{_difference(middle, percent)}{unit}{limits}"
        if wording.measure(before.measure).logarithmic:
            middle, low, high = paired_interval(before.examples, after.examples)
            ratio = math.log(after.value / before.value)  # weighted as the scores are, unlike `middle`
            low, high = (math.expm1(min(ratio + limit - middle, MOST_NATS)) for limit in (low, high))
            limits = f" [{_percent(low)}, {_percent(high)}]" if low < high else ""
            return f"{_percent(math.expm1(ratio))}{limits}"
    if wording.measure(before.measure).logarithmic:
        return _percent(after.value / before.value - 1)
    return f"{_difference(scale * (after.value - before.value), percent)}{unit}"


def _difference(number: float, percent: bool) -> str:
    return numbers.signed(numbers.fixed(number, 1) if percent else numbers.plain(number))


def _percent(ratio: float) -> str:
    return numbers.signed(numbers.share(ratio))


def _is_mean(score: Score) -> bool:
    return math.isclose(float(np.mean(score.examples)), score.value, rel_tol=1e-4, abs_tol=1e-6)
