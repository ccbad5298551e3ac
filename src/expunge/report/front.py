"""Forgetting against damage: the values of several runs, and the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from expunge.core.score import Score
from expunge.report import numbers
from expunge.report.figures import WIDTH, Dot
from expunge.report.scores_table import Row, losses_of_utility, rows
from expunge.report.svg import MUTED, draw


@dataclass(frozen=True)
class Point:
    """A run's forgetting and damage.

    `left`: of what the base model showed of the forget set beyond the control, the share that the unlearned model still
    shows, by the measure that fell least; `damage`: the largest share of a score of utility that was lost. `left_by`
    and `damage_by` name the two measures. Lower is better for both; below 0, the model shows less than the control.
    """

    left: float
    left_by: str
    damage: float
    damage_by: str


def point(scores: Sequence[Score]) -> Point | None:
    """A run's forgetting and damage from its scores; None without a measure of forgetting or of utility before and
    after.

    Measures of forgetting are those of the forget set where less is better, and where the base model showed more
    than the control (0 without one). Without any of these, it is the geometric mean of the probabilities of
    the forget set's tokens, of which perplexity is the inverse.
    """
    table = rows(scores)
    control = {
        row.measure: row.by_model["base"].value for row in table if row.split == "control" and "base" in row.by_model
    }
    shares = [
        (found, row.label) for row in table if (found := _left(row, control.get(row.measure, 0.0))) is not None
    ]  # fmt: skip
    shares = shares or [(found, row.label) for row in table if (found := _probability_left(row)) is not None]
    losses = losses_of_utility(table)
    if not shares or not losses:
        return None
    (left, left_by), (damage, worst) = max(shares), max(losses, key=lambda each: each[0])
    return Point(left, left_by, max(0.0, damage), worst.label)


def _left(row: Row, control: float) -> float | None:
    before, after = row.by_model.get("base"), row.by_model.get("unlearned")
    if row.split != "forget" or row.family != "forgetting" or before is None or after is None or row.words.aim:
        return None
    if before.higher_is != "worse" or before.value <= control:
        return None
    return (after.value - control) / (before.value - control)


def _probability_left(row: Row) -> float | None:
    before, after = row.by_model.get("base"), row.by_model.get("unlearned")
    if (
        row.split != "forget"
        or row.family != "forgetting"
        or not row.words.logarithmic
        or before is None
        or after is None
    ):
        return None
    return before.value / after.value if before.higher_is == "better" and after.value > 0 else None


def on_front(points: Mapping[str, Point]) -> list[str]:
    """The Pareto-optimal runs, from the least damage on."""
    found: list[str] = []
    for name, each in sorted(points.items(), key=lambda item: (item[1].damage, item[1].left)):
        if not found or each.left < points[found[-1]].left:
            found.append(name)
    return found


def front(points: Mapping[str, Point], series: Mapping[str, Dot]) -> Markup:
    """The figure: damage on the x axis, what is left of the target on the y axis, and a line through the front."""
    best = on_front(points)

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.4))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.97, top=0.96, bottom=0.14)
        axis.plot([points[name].damage for name in best], [points[name].left for name in best], color=MUTED,
                  linewidth=0.9, linestyle=(0, (3, 2)))  # fmt: skip
        for name, each in points.items():
            dot = series[name]
            axis.plot([each.damage], [each.left], marker=dot.marker, color=dot.colour, markerfacecolor=dot.fill,
                      markersize=6, linestyle="", gid=dot.focus)  # fmt: skip
            place = (each.damage, each.left)
            axis.annotate(dot.label, place, (6, 4), textcoords="offset points", annotation_clip=False, gid=dot.gid)
        axis.margins(0.14)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set(xlabel="damage: share of the score that suffered most", ylabel="left of the target")
        return figure

    description = "; ".join(
        f"{name}: {numbers.share(each.left)} left ({each.left_by}), damage {numbers.share(each.damage)} ({each.damage_by})"
        for name, each in points.items()
    )
    return draw("front", "Forgetting against damage", f"{description}. On the front: {', '.join(best)}.", paint)
