"""Figures of a suite of questions: forgetting against utility, with the oracle and the model before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from expunge.report import numbers
from expunge.report.figures import WIDTH
from expunge.report.svg import BLUE, MUTED, PAPER, VERMILION, draw
from expunge.suites.challenge.plots import name_points

LEAST = 1e-12
"p-values below this are drawn at it"


@dataclass(frozen=True, slots=True)
class Point:
    """A model: its name, and (value, low, high) along both axes; the limits are the value where it has none."""

    name: str
    x: tuple[float, float, float]
    y: tuple[float, float, float]


def front(
    name: str,
    points: Sequence[Point],
    taught: Point | None,
    oracle: Point | None,
    x: str,
    y: str,
    logarithmic: bool = False,
    line: float | None = None,
) -> Markup:
    """One measure of forgetting against one of utility.

    Args:
        taught: the model before; None if it is not measured so.
        oracle: the model that never saw the forget set; None if there is none.
        x, y: what the axes are called.
        logarithmic: whether y is a p-value.
        line: where a dotted line lies across.
    """
    others = [each for each in (taught, oracle) if each is not None]

    def placed(point: Point) -> Point:
        if not logarithmic:
            return point
        low, mid, high = (math.log10(max(value, LEAST)) for value in (point.y[1], point.y[0], point.y[2]))
        return Point(point.name, point.x, (mid, low, high))

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.6))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.09, right=0.98, top=0.97, bottom=0.14)
        every = [placed(each) for each in (*points, *others)]
        for values, set_limits in (([v for p in every for v in p.x], axis.set_xlim), ([v for p in every for v in p.y],
                                                                                     axis.set_ylim)):  # fmt: skip
            margin = 0.08 * ((max(values) - min(values)) or 0.2)
            set_limits(min(values) - margin, max(values) + margin)
        if line is not None:
            axis.axhline(math.log10(line) if logarithmic else line, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
        axis.set(xlabel=x, ylabel=f"{y}, logarithm of 10" if logarithmic else y)
        for number, point in enumerate(every):
            is_oracle = oracle is not None and number == len(every) - 1
            colour = BLUE if number < len(points) else VERMILION if is_oracle else MUTED
            marker = "o" if number < len(points) else "D" if is_oracle else "s"
            axis.plot([point.x[0]] * 2, point.y[1:], color=colour, linewidth=0.9, alpha=0.6)
            axis.plot(point.x[1:], [point.y[0]] * 2, color=colour, linewidth=0.9, alpha=0.6)
            axis.plot([point.x[0]], [point.y[0]], marker=marker, color=colour, markersize=5, linestyle="",
                      markerfacecolor=colour if number < len(points) else PAPER)  # fmt: skip
        name_points(axis, [(point.x[0], point.y[0], point.name) for point in every])
        return figure

    shown = [*points, *others]
    description = "; ".join(
        f"{each.name}: {y} {numbers.plain(each.y[0])} at {x} {numbers.plain(each.x[0])}" for each in shown
    )
    return draw(name, f"{y} against {x}", description + ".", paint)


def point(name: str, measures: Mapping[str, Any], x: str, y: str, at: float | None = None) -> Point | None:
    """A model's place by two of its measures; None if it has not both. `at`: its y, where that is known beforehand."""
    if x not in measures or (y not in measures and at is None):
        return None
    across = measures[x]
    if at is not None:
        up = (at, at, at)
    else:
        value, low, high = (measures[y][part] for part in ("value", "low", "high"))
        up = (value, value, value) if low is None else (value, low, high)
    return Point(name, (across["value"], across["low"], across["high"]), up)
