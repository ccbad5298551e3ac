"""Figures of an audit: what each attack brought back compared with the control, and curves against steps or layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from expunge.measures.statistics import share_interval
from expunge.report import numbers
from expunge.report.figures import WIDTH
from expunge.report.svg import BLUE, GREEN, INK, MUTED, draw

FEWEST = 2
"points of a curve"


def means(values: Sequence[float] | None) -> str:
    """The mean of shares with its interval, in words."""
    if not values:
        return "–"
    mean, low, high = share_interval(values)
    return f"{numbers.share(mean)} {numbers.interval(low, high, True)}"


def overview(name: str, result: Mapping[str, Any]) -> Markup:
    """Excess of every attack with its interval, and the limit."""
    rows = [row for row in result["findings"] if row["unit"] == "share of what was known" and row["value"] is not None]
    if not rows:
        return Markup()
    limit = result["settings"]["excess"]

    def paint() -> Figure:
        figure = Figure(figsize=(WIDTH, 0.6 + 0.26 * len(rows)))
        axis = figure.subplots()
        figure.subplots_adjust(left=0.3, right=0.97, top=0.97, bottom=0.45 / figure.get_figheight())
        for place, row in enumerate(rows):
            colour = BLUE if row["passed"] else INK
            low, high = (min(max(row[end], -1.0), 1.5) for end in ("low", "high"))
            axis.plot([low, high], [place, place], color=colour, linewidth=1.2)
            axis.plot(
                min(max(row["value"], -1.0), 1.5), place, "o" if row["passed"] else "X", color=colour, markersize=5
            )
        axis.axvline(0, color=GREEN, linewidth=1)
        axis.axvline(limit, color=MUTED, linewidth=1, linestyle="--")
        axis.set(
            ylim=(len(rows) - 0.5, -0.5), xlabel="beyond the control, as a share of what the base model knew beyond it"
        )
        axis.set_yticks(range(len(rows)), [row["title"] for row in rows])
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        return figure

    values = "; ".join(f"{row['title']}: {numbers.share(row['value'])}" for row in rows)
    return draw(
        name,
        "What each attack brought back",
        f"{values}. The green line is the control, the broken one the limit.",
        paint,
    )


def curves(name: str, attack: Mapping[str, Any]) -> Markup:
    """Curves of an attack, one panel a family of settings: the model, and the control with its band."""
    families: dict[str, list[Mapping[str, Any]]] = {}
    for setting in attack["settings"]:
        if setting["family"]:
            families.setdefault(setting["family"], []).append(setting)
    families = {family: settings for family, settings in families.items() if len(settings) >= FEWEST}
    if not families:
        return Markup()

    def paint() -> Figure:
        columns = min(3, len(families))
        lines = -(-len(families) // columns)
        figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * lines))
        height = figure.get_figheight()
        axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
        figure.subplots_adjust(left=0.08, right=0.98, wspace=0.12, hspace=0.55)
        figure.subplots_adjust(top=1 - 0.42 / height, bottom=0.3 / height)  # titles have two lines
        for axis, (family, settings) in zip(axes, families.items(), strict=False):
            x = [setting["at"] for setting in settings]
            for side, colour, marker in (("control", GREEN, "s"), ("unlearned", BLUE, "o")):
                if settings[0][side] is None:
                    continue
                band = [share_interval(setting[side]) for setting in settings]
                axis.fill_between(
                    x, [b.low for b in band], [b.high for b in band], color=colour, alpha=0.15, linewidth=0
                )
                axis.plot(x, [b.value for b in band], color=colour, marker=marker, markersize=3.5, linewidth=1.3)
            axis.set_title(family.replace(", rate", ",\nrate"), fontsize=8)
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        for axis in axes[len(families) :]:
            axis.set_visible(False)
        return figure

    said = "; ".join(
        f"{family}: {means(settings[-1]['unlearned'])}, control {means(settings[-1]['control'])}"
        for family, settings in families.items()
    )
    return draw(
        name, f"{attack['title']}: what is known", f"Blue is the model, green the control; at the end {said}.", paint
    )
