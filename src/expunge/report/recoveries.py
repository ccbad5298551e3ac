"""What attacks brought back in several runs, as one figure per attack: one line per run, and its control."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from expunge.measures.statistics import share_interval
from expunge.report.audit_figures import FEWEST, means
from expunge.report.figures import WIDTH, Dot
from expunge.report.svg import draw

Settings = Sequence[Mapping[str, Any]]
"settings of an attack, as `audit.json` holds them"


@dataclass(frozen=True)
class Recovery:
    """An attack to plot.

    Attributes:
        rows: (family of settings, (run, what is known at its last setting, the control's)).
    """

    title: str
    figure: Markup
    rows: tuple[tuple[str, tuple[tuple[str, str, str], ...]], ...]


def recoveries(audits: Mapping[str, Mapping[str, Any]], series: Mapping[str, Dot]) -> list[Recovery]:
    """Curves of every attack that was run along a line of settings; empty if no audit has one.

    Args:
        audits: content of `audit/audit.json` of each run; runs without an audit of their model are left out.
    """
    titles = {each["name"]: each["title"] for audit in audits.values() for each in audit["attacks"]}
    found = []
    for name, title in titles.items():
        families: dict[str, dict[str, Settings]] = {}
        for run, audit in audits.items():
            for family, settings in _curves(audit, name).items():
                families.setdefault(family, {})[run] = settings
        if families:
            figure = _draw(f"recovery-{name}", title, families, series)
            found.append(Recovery(title, figure, tuple((family, _ends(runs)) for family, runs in families.items())))
    return found


def _curves(audit: Mapping[str, Any], attack: str) -> dict[str, Settings]:
    """Settings of an attack by family, for those that make a curve."""
    families: dict[str, list[Mapping[str, Any]]] = {}
    for each in audit["attacks"]:
        for setting in each["settings"] if each["name"] == attack else ():
            if setting["family"] and setting["unlearned"]:
                families.setdefault(setting["family"], []).append(setting)
    return {family: settings for family, settings in families.items() if len(settings) >= FEWEST}


def _ends(runs: Mapping[str, Settings]) -> tuple[tuple[str, str, str], ...]:
    last = {run: settings[-1] for run, settings in runs.items()}
    return tuple((run, means(each["unlearned"]), means(each["control"])) for run, each in last.items())


def _draw(name: str, title: str, families: Mapping[str, Mapping[str, Settings]], series: Mapping[str, Dot]) -> Markup:
    def paint() -> Figure:
        columns = min(3, len(families))
        lines = -(-len(families) // columns)
        figure = Figure(figsize=(WIDTH, 0.5 + 1.9 * lines))
        height = figure.get_figheight()
        axes = list(figure.subplots(lines, columns, squeeze=False, sharey=True).flat)
        figure.subplots_adjust(left=0.08, right=0.98, wspace=0.12, hspace=0.6)
        figure.subplots_adjust(top=1 - 0.42 / height, bottom=0.3 / height)  # titles have two lines
        reached: set[str] = set()
        for axis, (family, runs) in zip(axes, families.items(), strict=False):
            for run, settings in runs.items():
                dot, x = series[run], [setting["at"] for setting in settings]
                band = [share_interval(setting["unlearned"]) for setting in settings]
                axis.fill_between(x, [b.low for b in band], [b.high for b in band], color=dot.colour, alpha=0.12,
                                  linewidth=0, gid=dot.gid)  # fmt: skip
                axis.plot(x, [b.value for b in band], color=dot.colour, marker=dot.marker, markerfacecolor=dot.fill,
                          markersize=3.5, linewidth=1.3, gid=dot.gid if run in reached else dot.focus)  # fmt: skip
                reached.add(run)
                if all(setting["control"] for setting in settings):
                    control = [share_interval(setting["control"]).value for setting in settings]
                    axis.plot(x, control, color=dot.colour, linewidth=1, linestyle=(0, (2, 2)), gid=dot.gid)
            axis.set_title(family.replace(", rate", ",\nrate"), fontsize=8)
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
        for axis in axes[len(families) :]:
            axis.set_visible(False)
        return figure

    said = "; ".join(
        f"{family}: " + ", ".join(f"{run} {known} (control {control})" for run, known, control in _ends(runs))
        for family, runs in families.items()
    )
    return draw(name, f"{title}: what is known", f"At the end {said}. Broken lines are each run's control.", paint)
