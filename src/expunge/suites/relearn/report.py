"""`report.html` of the suite, and its table for the console, from its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.words import counted
from expunge.report import numbers
from expunge.report.audit_figures import curves
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.suites.tofu import plots
from expunge.suites.tofu.report import called, read_figures, unfinished
from expunge.suites.tofu.words import TUNED

Row = Mapping[str, Any]


def render_relearn(folder: RunFolder) -> Path:
    """Write `report.html` of a suite's folder and return its path. Raises `RunError` if it has no figures yet."""
    storage.write_text(folder.report, relearn_page(folder))
    return folder.report


def relearn_page(folder: RunFolder) -> str:
    """The page as HTML: it loads nothing, needs no script; equal figures give equal bytes."""
    figures = read_figures(folder.require())
    rows = every_row(figures)
    drawn = [
        (f"{name}: {attack['title'].lower()}", curves(f"curves-{number}-{place}", attack))
        for number, (name, row, _) in enumerate(rows)
        if name != "oracle"
        for place, attack in enumerate(row["attacks"])
    ]
    return render_page(
        "relearn.html.jinja",
        name=folder.path.resolve().name,
        figures=figures,
        heads=headings(figures),
        rows=[(name, cells_of(row, figures), what) for name, row, what in rows],
        best=best(figures),
        unfinished=unfinished(figures, "attacked"),
        worst=worst,
        front=front(figures),
        curves=[(title, figure) for title, figure in drawn if figure],
        seeds=[(name, row["seeds"]) for name, row, _ in rows],
        share=numbers.share,
        tuned=TUNED if any(row["tuned"] for row in figures["methods"]) else "",
    )


def worst(row: Row, attacks: Sequence[str]) -> float | None:
    """The largest excess over all attacks, as a share of what was known; None if one is undecided."""
    values = [row["excess"][name]["value"] for name in attacks]
    return None if None in values else max(values)


def within(row: Row, limit: float) -> bool:
    """Whether the damage of the model is within the limit."""
    return bool(row["damage"]["kl"][0] <= limit)


def ranked(figures: Mapping[str, Any]) -> list[Row]:
    """Methods whose damage is within the limit, the least excess first; then the others in the same order."""

    def key(row: Row) -> tuple[bool, float]:
        value = worst(row, list(figures["attacks"]))
        return not within(row, figures["kl_limit"]), math.inf if value is None else value

    return sorted(figures["methods"], key=key)


def best(figures: Mapping[str, Any]) -> Row | None:
    """The method with the least recovery by relearning, within the limit of damage; None if there is none."""
    able = [row for row in ranked(figures) if within(row, figures["kl_limit"])]
    able = [row for row in able if worst(row, list(figures["attacks"])) is not None]
    return able[0] if able else None


def every_row(figures: Mapping[str, Any]) -> list[tuple[str, Row, str]]:
    """(name, figures, what it is) of every line of the table."""
    return [
        ("taught", figures["taught_model"], "before"),
        ("oracle", figures["oracle"], "never saw the forget set"),
        *((called(row), row, "") for row in ranked(figures)),
    ]


def headings(figures: Mapping[str, Any]) -> list[str]:
    """The heads of the table's columns."""
    after = [head for title, _ in figures["attacks"].values() for head in (f"{title}: known", f"{title}: excess")]
    limit = numbers.plain(figures["kl_limit"])
    return [
        "known",
        "excess",
        *after,
        "retain kept",
        "perplexity",
        "KL, nats a token",
        f"KL at most {limit}",
        *(["times its change"] if figures["settings"].get("equal_damage") else []),
        "seconds",
    ]


def cells_of(row: Row, figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(value, interval) of each column."""

    def limits(found: Sequence[float | None], percent: bool = True) -> tuple[str, str]:
        value, low, high = found
        if value is None:
            return "undecided", ""
        if low is None or high is None:
            return numbers.value(value, percent), ""
        return numbers.value(value, percent), numbers.interval(low, high, percent)

    found = []
    for name in ("as_is", *figures["attacks"]):
        own = row["excess"][name]
        found += [(numbers.share(own["known"]), ""), limits([own[part] for part in ("value", "low", "high")])]
    damage = row["damage"]
    kl, low, high = (numbers.fixed(value, 4) for value in row["damage"]["kl"])
    return [
        *found,
        limits(damage["retain"]["kept"] or (None, None, None)),
        limits(damage["perplexity"]["ratio"], percent=False),
        (kl, "" if low == high else f"[{low}, {high}]"),
        ("yes" if within(row, figures["kl_limit"]) else "no", ""),
        *([(_scale(row), "")] if figures["settings"].get("equal_damage") else []),
        (numbers.plain(row["seconds"]) if "seconds" in row else "", ""),
    ]


def _scale(row: Row) -> str:
    if "scale" not in row:  # the taught model and the oracle
        return ""
    return "as made" if row["scale"] is None else numbers.fixed(row["scale"], 2)


def front(figures: Mapping[str, Any]) -> Any:
    """Excess after the strongest attack against damage; None if it is undecided for the taught model."""
    names = list(figures["attacks"])

    def point(name: str, row: Row) -> plots.Point | None:
        value = worst(row, names)
        if value is None:
            return None
        found = next(row["excess"][each] for each in names if row["excess"][each]["value"] == value)
        kl, low, high = row["damage"]["kl"]
        least, most = (value if found[end] is None else float(found[end]) for end in ("low", "high"))
        return plots.Point(name, (kl, low, high), (value, least, most))

    points = [point(row["name"], row) for row in figures["methods"]]
    taught, oracle = point("taught", figures["taught_model"]), point("oracle", figures["oracle"])
    if taught is None or oracle is None:
        return None
    return plots.front(
        "front",
        [each for each in points if each is not None],
        taught,
        oracle,
        "KL from the taught model on ordinary text, nats a token",
        "excess after the attack, share of what was known",
        logarithmic=False,
    )


def print_relearn(figures: Mapping[str, Any]) -> None:
    """The table of the suite for the console."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 200
    table = Table(box=None, pad_edge=False)
    for header in ("method", *headings(figures)):
        table.add_column(header)
    for name, row, _ in every_row(figures):
        table.add_row(name, *(" ".join(filter(None, pair)) for pair in cells_of(row, figures)))
    console.print(table)
    for row in figures["failed"]:
        console.print(f"{row['name']}: {row['models']} of {row['of']} models: {row['reason']}")
    facts = figures["facts"]
    console.print(
        f"\n{facts['asked']} facts; the attacker is given half, and tested on the other {facts['held_back']}. "
        f"{counted(figures['seeds'], 'model')} of each method. Excess: known beyond the oracle, as a share of what the "
        "taught model "
        "knew beyond it. 95 % intervals over facts."
    )
    notes = [TUNED] if any(row["tuned"] for row in figures["methods"]) else []
    for sentence in [*notes, *figures["notices"]]:
        console.print(f"Note: {sentence.rstrip('.')}.")
