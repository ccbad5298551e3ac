"""Figures of a run on an image classifier."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from expunge.report import numbers
from expunge.report.figures import MODEL_DOTS, WIDTH
from expunge.report.svg import BLUE, GREEN, MUTED, draw

MOST_BINS = 24
OUTER = 1.0
"percent of the values in the outermost bin at either end"


def shared_bins(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Edges of equal bins over nearly all values of all groups, with more bins the more values the smallest group
    has."""
    values = np.concatenate([np.ravel(group) for group in groups])
    low, high = np.percentile(values, [OUTER, 100 - OUTER])
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    fewest = min(np.size(group) for group in groups)
    return np.linspace(low, high, min(MOST_BINS, 5 + round(math.sqrt(fewest))) + 1)


def shares(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(bins,) share of the values in each bin; values outside count in the outermost."""
    return np.asarray(np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0] / max(1, len(values)))


def confidences(name: str, models: Mapping[str, Mapping[str, np.ndarray]]) -> Markup:
    """Histograms of confidence in the right class, forgotten against new pictures, one panel a model.

    `models` holds, by model, the logit-scaled confidences (pictures,) of the splits forget and test.
    """
    groups = [values for splits in models.values() for values in splits.values()]
    edges = shared_bins(groups)
    top = 1.3 * max(float(shares(values, edges).max()) for values in groups)  # room for the key
    kinds = (("forget", GREEN, "-", True, "forgotten"), ("test", MUTED, (0, (4, 1.5)), False, "new"))

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.1))
        axes = figure.subplots(1, len(models), squeeze=False, sharey=True)[0]
        figure.subplots_adjust(left=0.06, right=0.98, wspace=0.12, top=0.86, bottom=0.21)
        for axis, (model, splits) in zip(axes, models.items(), strict=True):
            for place, (split, colour, dash, filled, label) in enumerate(kinds):
                if split not in splits:
                    continue
                heights = shares(splits[split], edges)
                if filled:
                    axis.stairs(heights, edges, fill=True, color=colour, alpha=0.18)
                axis.stairs(heights, edges, color=colour, linewidth=1.3, linestyle=dash)
                axis.plot([0.03, 0.1], [0.93 - 0.12 * place] * 2, color=colour, linestyle=dash, linewidth=1.4,
                          transform=axis.transAxes)  # fmt: skip
                axis.text(0.12, 0.93 - 0.12 * place, label, transform=axis.transAxes, va="center", fontsize=7.5)
            axis.axvline(0, color=MUTED, linewidth=0.7, linestyle=(0, (1, 2)))
            axis.set_title(MODEL_DOTS[model].label, weight="bold")
            axis.set(xlim=(edges[0], edges[-1]), ylim=(0, top), xlabel="log-odds of the right class")
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
            axis.xaxis.set_major_locator(MaxNLocator(6))
        return figure

    description = "; ".join(
        f"{MODEL_DOTS[model].label}: " + ", ".join(
            f"{label} pictures {numbers.plain(float(np.median(splits[split])))}"
            for split, *_, label in kinds if split in splits
        )
        for model, splits in models.items()
    )  # fmt: skip
    return draw(name, "How sure the model is of the right class", f"Medians of the log-odds: {description}.", paint)


def losses(name: str, phases: Mapping[str, Sequence[float]]) -> Markup:
    """The objective of every step, phase after phase; phases of one kind (`repair 1`, `repair 2`) share a panel."""
    kinds: dict[str, list[tuple[int, Sequence[float]]]] = {}
    step = 0
    for phase, values in phases.items():
        kinds.setdefault(re.sub(r"[\s_-]*\d+$", "", phase) or phase, []).append((step, values))
        step += len(values)

    def paint() -> Figure:
        across = min(2, len(kinds))
        down = math.ceil(len(kinds) / across)
        figure = Figure(figsize=(WIDTH, 0.1 + 1.8 * down))
        axes = figure.subplots(down, across, squeeze=False, sharex=True).flatten()
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.09, right=0.98, wspace=0.18, hspace=0.5, top=1 - 0.28 / height,
                               bottom=0.4 / height)  # fmt: skip
        for axis in axes[::across]:
            axis.set_ylabel("objective")
        for axis, (kind, parts) in zip(axes, kinds.items(), strict=False):
            for first, values in parts:
                numbered = [(first + i + 1, v) for i, v in enumerate(values) if math.isfinite(v)]
                if numbered:
                    axis.plot(*zip(*numbered, strict=True), color=BLUE, linewidth=1.2,
                              marker="o" if len(numbered) < 3 else None, markersize=3)  # fmt: skip
                axis.axvline(first + 0.5, color=MUTED, linewidth=0.5, linestyle=(0, (1, 2)))
            axis.set_title(kind, weight="bold")
            axis.set(xlim=(0.5, step + 0.5), xlabel="step")
            axis.xaxis.set_tick_params(labelbottom=True)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        for axis in axes[len(kinds) :]:
            axis.set_visible(False)
        return figure

    description = "; ".join(
        f"{kind} from {numbers.plain(parts[0][1][0])} to {numbers.plain(parts[-1][1][-1])}"
        for kind, parts in kinds.items()
    )
    return draw(name, "The objective over the steps of unlearning", description + ".", paint)
