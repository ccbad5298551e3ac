"""Figures of a contest: F against utility, epsilons by picture, and confidences of single pictures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from expunge.kinds.classifier.report.figures import shared_bins, shares
from expunge.report import numbers
from expunge.report.figures import WIDTH
from expunge.report.svg import BLUE, INK, MUTED, PAPER, VERMILION, draw

LARGE, SMALL = 3, 6
"histograms in a line: of the best methods, and of the others"
PLACES = [(5, 0, "left", "center"), (-5, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
          (6, 6, "left", "bottom"), (6, -6, "left", "top"), (-6, 6, "right", "bottom"), (-6, -6, "right", "top"),
          (8, 14, "left", "bottom"), (8, -14, "left", "top"), (-8, 14, "right", "bottom"), (-8, -14, "right", "top"),
          (10, 24, "left", "bottom"), (10, -24, "left", "top"), (-10, 24, "right", "bottom"), (-10, -24, "right", "top")
          ]  # fmt: skip
"possible places of a point's name: points to the right and above, and its alignment; the first free one is taken"


def utility(row: Mapping[str, Any]) -> float:
    """RA x TA: retain and test accuracy of the unlearned models, as ratios over the retrained ones."""
    return float(row["retain_ratio"]["value"] * row["test_ratio"]["value"])


def quality(name: str, rows: Sequence[Mapping[str, Any]], ceiling: Mapping[str, Any], known: bool) -> Markup:
    """F of every method against its utility, with the ceiling; `known`: whether the intervals of F are meaningful."""

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 4.3))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.08, right=0.98, top=0.97, bottom=0.12)
        points = [(utility(row), row["forgetting"]) for row in [*rows, ceiling]]
        ends = [value for _, f in points for value in ((f["low"], f["value"], f["high"]) if known else (f["value"],))]
        top = 1.12 * max(ends, default=0.0) or 1.0
        best = [x for x, _ in points]
        margin = 0.12 * ((max(best) - min(best)) or 0.2)
        axis.set(xlim=(min(best) - margin, max(best) + margin), ylim=(-0.04 * top, top))
        axis.set(
            xlabel="utility: retain ratio × test ratio, 1 is that of retrained models", ylabel="F, forgetting quality"
        )
        aim = ceiling["forgetting"]
        if known:
            axis.axhspan(aim["low"], aim["high"], color=VERMILION, alpha=0.1, linewidth=0)
        axis.axhline(aim["value"], color=VERMILION, linewidth=1, linestyle=(0, (5, 2)))
        axis.axvline(1, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
        for row in rows:
            f, x, over = row["forgetting"], utility(row), row["over_budget"]
            if known:
                axis.plot([x, x], [f["low"], f["high"]], color=MUTED if over else BLUE, linewidth=0.9, alpha=0.6)
            axis.plot([x], [f["value"]], marker="X" if over else "o", color=MUTED if over else BLUE, markersize=5,
                      markerfacecolor=PAPER if over else BLUE, linestyle="")  # fmt: skip
        axis.plot([utility(ceiling)], [aim["value"]], marker="D", color=VERMILION, markersize=5, linestyle="")
        name_points(axis, [*[(utility(row), row["forgetting"]["value"], row["name"]) for row in rows],
                            (utility(ceiling), aim["value"], "ceiling: retrained again")])  # fmt: skip
        return figure

    description = "; ".join(
        f"{row['name']}: F {numbers.plain(row['forgetting']['value'])} at utility {numbers.plain(utility(row))}"
        for row in [*rows, ceiling]
    )
    return draw(name, "Forgetting quality against utility", description + ".", paint)


def name_points(axis: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name next to it, without covering another name or point."""
    figure = axis.figure
    scale = 72 / figure.dpi
    at = [tuple(scale * value for value in axis.transData.transform((x, y))) for x, y, _ in points]
    taken = [(x - 3.5, y - 3.5, x + 3.5, y + 3.5) for x, y in at]
    (left, bottom), (right, top) = (
        tuple(scale * v for v in corner) for corner in axis.get_window_extent().get_points()
    )
    for line in axis.lines:  # names avoid the ceiling and the intervals if possible
        ends = scale * line.get_transform().transform(line.get_xydata())
        taken.append((*(ends.min(0) - 0.5), *(ends.max(0) + 0.5)))
    for i in sorted(range(len(points)), key=lambda i: -points[i][1]):
        x, y = at[i]
        wide, high = 4.4 * len(points[i][2]), 8.5
        boxes = [_box(x + dx, y + dy, wide, high, across, up) for dx, dy, across, up in PLACES]
        inside = [b for b in boxes if b[0] > left and b[2] < right and b[1] > bottom and b[3] < top]
        free = (box for box in inside if not any(_meet(box, other) for other in taken))
        box = next(free, (inside or boxes)[0])
        taken.append(box)
        place = PLACES[boxes.index(box)]
        far = abs(place[1]) > 6
        axis.annotate(points[i][2], points[i][:2], xytext=place[:2], textcoords="offset points", ha=place[2],
                      va=place[3], fontsize=7.5,
                      arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.5} if far else None)  # fmt: skip


Box = tuple[float, float, float, float]


def _box(x: float, y: float, wide: float, high: float, across: str, up: str) -> Box:
    left = x - {"left": 0.0, "center": wide / 2, "right": wide}[across]
    bottom = y - {"bottom": 0.0, "center": high / 2, "top": high}[up]
    return left, bottom, left + wide, bottom + high


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def epsilons(name: str, rows: Sequence[Mapping[str, Any]], ceiling: Mapping[str, Any], models: int) -> Markup:
    """Histograms of epsilon over the forgotten pictures, one panel a method, with that of the ceiling as a line.

    The last bar is for values beyond the largest epsilon that an attack with an error can show with this number of
    models.
    """
    last = math.ceil(2 * math.log(max(3, models))) / 2
    edges = np.arange(0, last + 1.01, 0.5)
    edges = edges[edges <= last + 0.51]
    lines = [rows[:LARGE], *(rows[start : start + SMALL] for start in range(LARGE, len(rows), SMALL))]
    heights = [1.75, *[1.2] * (len(lines) - 1)]

    def counted(row: Mapping[str, Any]) -> np.ndarray:
        return shares(np.asarray(row["epsilons"], dtype=float), edges)

    top = 1.05 * max(float(counted(row).max()) for row in [*rows, ceiling])

    def paint() -> Figure:
        y = height = sum(heights)
        figure = Figure(figsize=(WIDTH, height))
        for line, inches in zip(lines, heights, strict=True):
            y -= inches
            many = LARGE if line is lines[0] else SMALL
            wide = (0.99 - 0.05) / many
            for place, row in enumerate(line):
                width = wide - 0.03 + 0.01 * (many > LARGE)
                axis = figure.add_axes((0.05 + place * wide, (y + 0.34) / height, width, (inches - 0.6) / height))
                colour = MUTED if row["over_budget"] else BLUE
                axis.stairs(counted(row), edges, fill=True, color=colour, alpha=0.65)
                axis.stairs(counted(ceiling), edges, color=VERMILION, linewidth=1.1)
                axis.set(xlim=(0, edges[-1]), ylim=(0, top))
                axis.set_title(
                    row["name"], fontsize=9 if many == LARGE else 7.5, weight="bold" if many == LARGE else "normal"
                )
                ticks = range(0, int(last) + 1, 1 if many == LARGE else 2)
                axis.xaxis.set_major_locator(FixedLocator([*ticks, (edges[-2] + edges[-1]) / 2]))
                axis.set_xticklabels([*map(str, ticks), "∞"], fontsize=None if many == LARGE else 7)
                axis.yaxis.set_major_locator(MaxNLocator(3))
                axis.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:g} %"))
                if place:
                    axis.set_yticklabels([])
                else:
                    axis.tick_params(axis="y", labelsize=None if many == LARGE else 7)
        return figure

    description = "; ".join(
        f"{row['name']}: median {numbers.plain(float(np.median(row['epsilons'])))}" for row in [*rows, ceiling]
    )
    return draw(name, "Epsilon of each forgotten picture", description + ".", paint)


@dataclass(frozen=True)
class Panel:
    """Confidences of one picture: (models,) each."""

    title: str
    unlearned: np.ndarray
    retrained: np.ndarray


def pictures(name: str, rows: Sequence[tuple[str, Sequence[Panel]]]) -> Markup:
    """Confidences in one picture's class, of unlearned models against retrained ones; a line of panels a method."""

    def paint() -> Figure:
        across = max(len(panels) for _, panels in rows)
        figure = Figure(figsize=(WIDTH, 1.75 * len(rows)))
        axes = figure.subplots(len(rows), across, squeeze=False)
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.06, right=0.98, wspace=0.14, hspace=0.75, top=1 - 0.3 / height,
                               bottom=0.42 / height)  # fmt: skip
        for line, (method, panels) in enumerate(rows):
            for axis, panel in itertools.zip_longest(axes[line], panels):
                if panel is None:
                    axis.set_visible(False)
                    continue
                _confidences(axis, panel)
                axis.set_title(f"{method}, {panel.title}")
            axes[line][0].set_ylabel("models")
        axes[-1][0].set_xlabel("log-odds of the right class")
        return figure

    description = "; ".join(
        f"{method}, {panel.title}: medians {numbers.plain(float(np.median(panel.unlearned)))} unlearned, "
        f"{numbers.plain(float(np.median(panel.retrained)))} retrained"
        for method, panels in rows
        for panel in panels
    )
    return draw(name, "Confidence in single pictures, unlearned against retrained", description + ".", paint)


def _confidences(axis: Axes, panel: Panel) -> None:
    edges = shared_bins([panel.unlearned, panel.retrained])
    kinds = ((panel.unlearned, BLUE, "-", "unlearned"), (panel.retrained, VERMILION, (0, (4, 1.5)), "retrained"))
    tallest = max(float((shares(values, edges) * len(values)).max()) for values, *_ in kinds)
    for place, (values, colour, dash, label) in enumerate(kinds):
        heights = shares(values, edges) * len(values)
        if not place:
            axis.stairs(heights, edges, fill=True, color=colour, alpha=0.18)
        axis.stairs(heights, edges, color=colour, linewidth=1.3, linestyle=dash)
        axis.plot(np.clip(values, edges[0], edges[-1]), np.full(len(values), -0.07 * (place + 1) * tallest),
                  marker="|", color=colour, markersize=3.5, linestyle="", markeredgewidth=0.7)  # fmt: skip
        axis.plot([0.02, 0.08], [0.92 - 0.15 * place] * 2, color=colour, linestyle=dash, linewidth=1.4,
                  transform=axis.transAxes)  # fmt: skip
        axis.text(0.095, 0.92 - 0.15 * place, label, transform=axis.transAxes, va="center", fontsize=7, color=INK)
    axis.set(xlim=(edges[0], edges[-1]), ylim=(-0.2 * tallest, 1.45 * tallest))
    axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}" if y >= 0 else ""))
    axis.xaxis.set_major_locator(MaxNLocator(6))
