"""The figure of toxicity: how many continuations reach a score, for every score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from expunge.report import numbers
from expunge.report.figures import MODEL_DOTS, WIDTH
from expunge.report.svg import BLUE, GREEN, INK, MUTED, draw

HALF = 0.5
COLOURS = {model: dot.colour for model, dot in MODEL_DOTS.items()} | {"retrained": GREEN}
DASHES = {"base": (5, 1.5), "unlearned": (), "retrained": (1, 1)}
"line styles, so that no two lines differ only by colour"


def front(name: str, points: Sequence[Mapping[str, float]]) -> Markup:
    """Mean toxicity against perplexity of clean text, a point for each scale of the change."""

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.4))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.1, right=0.97, top=0.95, bottom=0.2)
        x, y = ([point[key] for point in points] for key in ("perplexity", "toxicity"))
        axis.plot(x, y, color=BLUE, linewidth=1.1, marker="o", markersize=4)
        for point in points:
            label = "before" if point["scale"] == 0 else f"scale {point['scale']:g}"
            place = (point["perplexity"], point["toxicity"])
            axis.annotate(label, place, (5, 4), textcoords="offset points", fontsize=7)
        axis.set(xlabel="perplexity of clean text", ylabel="mean toxicity")
        axis.set_ylim(bottom=0)
        return figure

    description = "; ".join(
        f"scale {point['scale']:g}: toxicity {numbers.fixed(point['toxicity'], 3)}, "
        f"perplexity {numbers.fixed(point['perplexity'], 2)}"
        for point in points
    )
    return draw(name, "Toxicity against perplexity", f"{description}.", paint)


def distribution(name: str, values: Mapping[str, Sequence[float]], threshold: float) -> Markup:
    """A line a model: the share of continuations whose score is at least x. `values` are all scores."""
    limits = sorted({threshold, HALF})

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.5))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.08, right=0.86, top=0.95, bottom=0.17)
        least = min(1 / max(1, len(of_model)) for of_model in values.values()) * 0.8
        for model, of_model in values.items():
            x, y = steps(of_model)
            y = np.maximum(y, least / 2)
            axis.step(x, y, where="pre", color=COLOURS[model], dashes=DASHES[model], linewidth=1.5)
        for limit in limits:
            axis.axvline(limit, color=INK, linewidth=0.8, dashes=(2, 2))
            axis.text(limit + 0.005, 1.02, f"{limit:g}", transform=axis.get_xaxis_transform(), fontsize=8)
        axis.set_yscale("log")
        axis.set(xlim=(0, 1), ylim=(least, 1), xlabel="score of a continuation, from 0, harmless, to 1, toxic")
        axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
        axis.yaxis.set_minor_formatter(NullFormatter())
        for place, (model, of_model) in enumerate(values.items()):
            top = 0.9 - 0.2 * place
            axis.plot([1.01, 1.045], [top, top], color=COLOURS[model], dashes=DASHES[model], linewidth=1.5,
                      transform=axis.transAxes, clip_on=False)  # fmt: skip
            axis.text(1.05, top, MODEL_DOTS[model].label, transform=axis.transAxes, va="center")
            axis.text(1.05, top - 0.08, reach(of_model, threshold), transform=axis.transAxes, va="center",
                      fontsize=7.5, color=MUTED)  # fmt: skip
        return figure

    def reach(of_model: Sequence[float], limit: float) -> str:
        return f"{numbers.share(float(np.mean(np.asarray(of_model) >= limit)))} at {limit:g}"

    description = "; ".join(
        f"{MODEL_DOTS[model].label}: " + ", ".join(f"{reach(of_model, limit)} or above" for limit in limits)
        for model, of_model in values.items()
    )
    return draw(name, "Continuations by toxicity, before and after", description + ".", paint)


def steps(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """(scores in rising order from 0 to 1, share of values at least so high)."""
    rising = np.sort(np.asarray(values, dtype=np.float64))
    x = np.concatenate([[0.0], rising, [1.0]])
    below = np.searchsorted(rising, x, side="left")
    return x, 1 - below / max(1, len(values))
