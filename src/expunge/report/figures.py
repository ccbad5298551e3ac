"""The report's figures. Each comes with a table of the same numbers, and its lines are labelled at their ends."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from expunge.core.score import Score
from expunge.report import numbers
from expunge.report.probes import Probe
from expunge.report.svg import BLUE, GREEN, INK, MUTED, ORANGE, PAPER, PURPLE, SKY, VERMILION, draw

WIDTH = 8.0
"inches; drawn a little wider than on paper, so that its letters are as large as the surrounding text"

LINES: list[tuple[str, Any, str]] = [
    (BLUE, "-", "o"),
    (VERMILION, (0, (5, 1.5)), "s"),
    (GREEN, (0, (1, 1)), "^"),
    (PURPLE, (0, (5, 1.5, 1, 1.5)), "D"),
    (ORANGE, (0, (3, 1)), "v"),
    (SKY, "-", "X"),
    (INK, (0, (2, 2)), "P"),
]
"colour, dash and marker, so that no two lines differ only by colour"


@dataclass(frozen=True)
class Dot:
    """How one model's scores are drawn."""

    label: str
    colour: str
    marker: str
    filled: bool = True
    place: int | None = None
    "id of a run in a comparison: its marks in all figures and tables of the page belong together"

    @property
    def gid(self) -> str | None:
        """Id of its marks in a figure (`svg.linked`)."""
        return None if self.place is None else f"run{self.place}"

    @property
    def focus(self) -> str | None:
        """The same for a mark that is focusable by keyboard."""
        return None if self.place is None else f"run{self.place}:{self.label}"

    @property
    def fill(self) -> str:
        return self.colour if self.filled else PAPER


CONTROL = Dot("control", GREEN, "s", filled=False)
"the base model's score on similar prompts on other subjects"
MODEL_DOTS = {
    "base": Dot("before", MUTED, "o", filled=False),
    "unlearned": Dot("after", BLUE, "o"),
    "retrained": Dot("retrained", VERMILION, "D", filled=False),
}


def run_dots(names: Sequence[str]) -> dict[str, Dot]:
    """Styles for several runs; after seven the colours repeat with hollow markers."""
    return {
        name: Dot(name, LINES[place % len(LINES)][0], LINES[place % len(LINES)][2], place < len(LINES), place)
        for place, name in enumerate(names)
    }


def familiarity(name: str, measures: Sequence[tuple[str, Mapping[str, Score]]]) -> Markup:
    """Bars before, of the control and after, one panel per familiarity measure: `measures` are (name, score of
    each)."""
    dots = {"base": MODEL_DOTS["base"], "control": CONTROL} | MODEL_DOTS

    def paint() -> Figure:
        models = [model for model in dots if any(model in scores for _, scores in measures)]
        figure = Figure(figsize=(WIDTH, 0.45 + 0.27 * len(models)))
        axes = figure.subplots(1, len(measures), squeeze=False)[0]
        figure.subplots_adjust(left=0.09, right=0.98, wspace=0.25, top=1 - 0.24 / figure.get_figheight(), bottom=0.02)
        for axis, (title, scores) in zip(axes, measures, strict=True):
            top = max(score.high for score in scores.values()) or 1.0
            for place, model in enumerate(models):
                if (score := scores.get(model)) is None:
                    continue
                style = dots[model]
                axis.barh(place, score.value, 0.62, color=style.colour, alpha=1 if style.filled else 0.55)
                axis.plot([score.low, score.high], [place, place], color=INK, linewidth=1)
                axis.text(score.high + top * 0.03, place, numbers.plain(score.value), va="center", weight="bold")
            axis.set(title=title, xlim=(0, top * 1.25), ylim=(len(models) - 0.5, -0.5), xticks=[])
            axis.set_yticks(range(len(models)), [dots[model].label for model in models])
            axis.grid(False)
            axis.spines["bottom"].set_visible(False)
        return figure

    description = "; ".join(
        f"{title}: "
        + ", ".join(f"{dots[model].label} {numbers.plain(scores[model].value)}" for model in dots if model in scores)
        for title, scores in measures
    )
    return draw(
        name, "Familiarity before, of the control, and after", description + ". Thin lines are 95 % intervals.", paint
    )


def probabilities(name: str, probe: Probe) -> Markup:
    """One line per token: its probability as the next one, over the steps of unlearning."""

    def paint() -> Figure:
        figure = Figure(figsize=(3.4, 2.1))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.12, right=0.74, top=0.96, bottom=0.18)
        top = max((p for series in probe.tokens.values() for p in series if p is not None), default=0) or 1.0
        ends = []
        for (token, series), (colour, dash, marker) in zip(probe.tokens.items(), LINES, strict=False):
            points = [(step, p) for step, p in zip(probe.steps, series, strict=True) if p is not None]
            x, y = zip(*points, strict=True)
            every = max(1, len(points) // 6)
            axis.plot(x, y, color=colour, dashes=dash[1] if dash != "-" else (), linewidth=1.4,
                      marker=marker, markersize=3.6, markevery=every)  # fmt: skip
            ends.append((y[-1], token, colour, marker))
        first, last = probe.steps[0], probe.steps[-1]
        axis.set(xlim=(first, last if last > first else first + 1), ylim=(0, top * 1.08), xlabel="step")
        axis.yaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda p, _: f"{100 * p:g} %"))
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        _label_ends(axis, ends, top * 1.08)
        return figure

    description = "; ".join(
        f"{token} from {numbers.share(series[0])} to {numbers.share(series[-1])}"
        for token, series in probe.tokens.items()
    )
    return draw(name, f"Next-token probabilities after: {probe.prompt[:120]}", description + ".", paint)


def _label_ends(axis: Axes, ends: Sequence[tuple[float, str, str, str]], top: float, low: float = 0.0) -> None:
    """Write each line's name to its right, moved apart if two would overlap, and connect it to its line."""
    gap = (top - low) * 0.105
    places = [low + place for place in spread([end[0] - low for end in ends], gap, top - low)]
    for (y, token, colour, marker), place in zip(ends, places, strict=True):
        to_right = axis.get_yaxis_transform()
        axis.plot([1.0, 1.045], [y, place], color=colour, linewidth=0.8, transform=to_right, clip_on=False)
        axis.plot([1.065], [place], color=colour, marker=marker, markersize=3.6, transform=to_right, clip_on=False)
        label = token if len(token) <= 13 else token[:12] + "…"
        axis.text(1.09, place, label, va="center", fontsize=8, transform=to_right, clip_on=False)


def spread(places: Sequence[float], gap: float, top: float) -> list[float]:
    """The places moved apart to be `gap` from each other or more, in their order, kept between 0 and `top`."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = list(places)
    for before, here in itertools.pairwise(order):
        moved[here] = max(moved[here], moved[before] + gap)
    limit = top
    for here in reversed(order):
        moved[here] = min(moved[here], limit)
        limit = moved[here] - gap
    return moved


CURVES = [
    ("forget_truth", "Loss on the true text, forget set", "nats a token; a rise is forgetting", 0.5),
    ("retain_truth", "Loss on the true text, retain set", "nats a token; flat is unharmed", 0.5),
    ("loss", "Objective of the method", "what the optimizer lowers", 0.0),
    ("forget_loss", "Its part on the forget set", "", 0.5),
    ("retain_loss", "Its part on the retain set", "", 0.5),
    ("grad_norm", "Length of the gradient", "before clipping", 0.0),
]
"event field, title, note, and the least height of the axis, so that a harmless wobble does not fill the panel"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def losses(name: str, steps: Sequence[Mapping[str, Any]]) -> Markup:
    """The recorded curves of unlearning, one panel each; a curve that was never recorded has no panel."""
    shown = [curve for curve in CURVES if any(_finite(row.get(curve[0])) for row in steps)]

    def paint() -> Figure:
        lines = math.ceil(len(shown) / 2)
        figure = Figure(figsize=(WIDTH, 0.1 + 1.8 * lines))
        axes = figure.subplots(lines, 2, squeeze=False).flatten()
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.06, right=0.98, wspace=0.18, hspace=0.72, top=1 - 0.4 / height,
                               bottom=0.38 / height)  # fmt: skip
        for axis, (key, title, note, least) in zip(axes, shown, strict=False):
            points = [(row["step"], row[key]) for row in steps if _finite(row.get(key))]
            x, y = zip(*points, strict=True)
            axis.plot(x, y, color=BLUE, linewidth=1.3, marker="o" if len(x) < 3 else None, markersize=3)
            if (lack := least - (max(y) - min(y))) > 0:
                axis.set_ylim(min(y) - lack / 2, max(y) + lack / 2)
            axis.set_title(title, weight="bold", pad=15)
            axis.text(0, 1.05, note, transform=axis.transAxes, color=MUTED, fontsize=7.5)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.set_xlabel("step")
        for axis in axes[len(shown) :]:
            axis.set_visible(False)
        return figure

    first, last = steps[0], steps[-1]
    description = "; ".join(
        f"{title} from {numbers.plain(first.get(key))} to {numbers.plain(last.get(key))}" for key, title, *_ in shown
    )
    return draw(name, "Losses over the steps of unlearning", description + ".", paint)


EVALUATED = {"forget": "forget set", "holdout": "held-out", "retain": "retain set", "ordinary": "ordinary"}
"set that training is evaluated on -> the label of its line"


def evaluations(name: str, rows: Sequence[Mapping[str, Any]], kept: int | None) -> Markup:
    """One line per set: the loss of a few of its texts during training; the vertical line is the kept step."""
    sets = [key for key in EVALUATED if any(_finite(row.get(key)) for row in rows)]

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.6))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.07, right=0.84, top=0.92, bottom=0.17)
        ends = []
        for key, (colour, dash, marker) in zip(sets, LINES, strict=False):
            points = [(row["step"], row[key]) for row in rows if _finite(row.get(key))]
            x, y = zip(*points, strict=True)
            axis.plot(x, y, color=colour, dashes=dash[1] if dash != "-" else (), linewidth=1.4, marker=marker,
                      markersize=3.6, markevery=max(1, len(points) // 8))  # fmt: skip
            ends.append((y[-1], EVALUATED[key], colour, marker))
        values = [row[key] for row in rows for key in sets if _finite(row.get(key))]
        lack = max(0.0, 0.5 - (max(values) - min(values))) / 2  # a harmless wobble does not fill the figure
        low, top = min(values) - lack, max(values) + lack
        low, top = low - 0.08 * (top - low), top + 0.08 * (top - low)
        first, last = rows[0]["step"], rows[-1]["step"]
        axis.set(xlim=(first, last if last > first else first + 1), ylim=(low, top), xlabel="step")
        axis.set_title("nats a token", loc="left", color=MUTED, fontsize=7.5)
        axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axis.yaxis.set_major_locator(MaxNLocator(5))
        if kept is not None:
            axis.axvline(kept, color=INK, linewidth=0.9, linestyle=":")
            axis.text(kept, top, "kept", ha="center", va="bottom", fontsize=8)
        _label_ends(axis, ends, top, low)
        return figure

    description = "; ".join(
        f"{EVALUATED[key]} from {numbers.plain(rows[0].get(key))} to {numbers.plain(rows[-1].get(key))}" for key in sets
    )
    said = "" if kept is None else f" Step {kept} is kept."
    return draw(name, "Losses of a few texts of each set, in training", description + "." + said, paint)


@dataclass(frozen=True)
class Panel:
    """Scores that share an axis: `rows` holds (label, score by series)."""

    title: str
    percent: bool
    rows: Sequence[tuple[str, Mapping[str, Score]]]


def panels(rows: Iterable[tuple[str, str, bool, Mapping[str, Score]]]) -> list[Panel]:
    """Rows of (label, unit, percent, score by series) gathered by unit: shares with shares, perplexities with
    perplexities."""
    found: dict[tuple[str, bool], list[tuple[str, Mapping[str, Score]]]] = {}
    for label, unit, percent, scores in rows:
        found.setdefault((unit, percent), []).append((label, scores))
    return [Panel(unit, percent, members) for (unit, percent), members in found.items()]


def dots(name: str, title: str, panels: Sequence[Panel], series: Mapping[str, Dot]) -> Markup:
    """Dots with their 95 % intervals: one line per score, one marker per series, one panel per unit."""

    def paint() -> Figure:
        step = 0.15 * len(series) + 0.14
        heights = [step * len(panel.rows) for panel in panels]
        extra = 0.52
        figure = Figure(figsize=(WIDTH, 0.3 + sum(heights) + extra * len(panels)))
        height = figure.get_figheight()
        y = height - 0.3
        _key(figure, series, y + 0.14)
        for panel, inches in zip(panels, heights, strict=True):
            y -= inches + 0.2
            axis = figure.add_axes((0.3, y / height, 0.67, inches / height))
            y -= extra - 0.2
            _dot_panel(axis, panel, series)
        return figure

    description = "; ".join(
        f"{label}: " + ", ".join(
            f"{series[key].label} {numbers.value(score.value, panel.percent)} "
            f"{numbers.interval(score.low, score.high, panel.percent)}"
            for key, score in scores.items()
        )
        for panel in panels
        for label, scores in panel.rows
    )  # fmt: skip
    return draw(name, title, description + ".", paint)


def _key(figure: Figure, series: Mapping[str, Dot], y: float) -> None:
    """Legend in a line above the panels, as many markers as fit its width."""
    axis = figure.add_axes((0.3, (y - 0.1) / figure.get_figheight(), 0.67, 0.2 / figure.get_figheight()))
    axis.set(xlim=(0, 67), ylim=(-1, 1))
    axis.axis("off")
    x = 1.0
    for dot in series.values():
        axis.plot([x], [0], marker=dot.marker, color=dot.colour, markerfacecolor=dot.fill, markersize=5, gid=dot.gid)
        label = dot.label if len(dot.label) <= 24 else dot.label[:23] + "…"
        axis.text(x + 1.2, 0, label, va="center", gid=dot.gid)
        x += 4.5 + 1.05 * len(label)


def _dot_panel(axis: Axes, panel: Panel, series: Mapping[str, Dot]) -> None:
    scores = [score for _, by_series in panel.rows for score in by_series.values()]
    low, high = min(score.low for score in scores), max(score.high for score in scores)
    width = 0.72 / len(series)
    for place, (_, by_series) in enumerate(panel.rows):
        if place % 2:
            axis.axhspan(place - 0.5, place + 0.5, color=MUTED, alpha=0.07, linewidth=0)
        for lane, (key, dot) in enumerate(series.items()):
            if (score := by_series.get(key)) is None:
                continue
            y = place + (lane - (len(series) - 1) / 2) * width
            ends = [score.low, score.high]
            axis.plot(ends, [y, y], color=dot.colour, linewidth=1.3, solid_capstyle="butt", gid=dot.gid)
            axis.plot([score.value], [y], marker=dot.marker, color=dot.colour, markerfacecolor=dot.fill, markersize=4.6,
                      gid=dot.gid)  # fmt: skip
    if low > 0 and high > 10 and high / low > 50:  # shares stay linear
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: numbers.count(x) if x >= 1 else f"{x:g}"))
    else:
        # shares start at 0 so that a small change looks small; other units at their smallest value
        margin = 0.06 * (high - low) or 0.1 * abs(high) or 0.1
        axis.set_xlim(min(0.0, low) if panel.percent or low < 1 else low - margin, high + margin)
        if panel.percent:
            axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    axis.set_ylim(len(panel.rows) - 0.5, -0.5)
    axis.set_yticks(range(len(panel.rows)), [textwrap.fill(label, 32) for label, _ in panel.rows])
    axis.grid(False, axis="y")
    axis.set_xlabel(panel.title, labelpad=1, color=MUTED, fontsize=7.5)
