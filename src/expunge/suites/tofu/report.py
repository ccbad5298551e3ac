"""`report.html` of a suite of questions, and its table for the console, from its figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError
from expunge.report import numbers, wording
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.runs.registry import method_class
from expunge.runs.suite import suite_of
from expunge.suites.tofu import plots
from expunge.suites.tofu.words import ASIDE, MAIN, MEASURES, SPLITS, SUITES, TUNED

ACROSS = 6
"measures in a table"
ALIKE = 0.05
"p-value above which a model cannot be told from the oracle by the test (TOFU)"


def read_figures(folder: RunFolder) -> dict[str, Any]:
    """The figures of a suite's folder. Raises `RunError` where the suite has not ended."""
    made_by = suite_of(folder.path)
    path = folder.path if made_by is None else folder.path / made_by.marks[0]
    if not path.is_file():
        raise RunError(
            f"{folder.path} has no figures: the suite has not ended",
            next_step="run the command that started it again; it resumes where it stopped",
        )
    figures: dict[str, Any] = storage.read_json(path)
    return figures


def render_questions(folder: RunFolder) -> Path:
    """Write `report.html` of a suite's folder and return its path. Raises `RunError` where it has no figures yet."""
    storage.write_text(folder.report, questions_page(folder))
    return folder.report


def questions_page(folder: RunFolder) -> str:
    """The page as HTML: it loads nothing, needs no script; equal figures give equal bytes."""
    figures = read_figures(folder.require())
    rows = [
        {"name": "taught", "measures": figures["taught_model"], "what": "before"},
        {"name": "oracle", "measures": figures["oracle"], "what": "never saw the forget set"},
        *({**row, "name": as_control(row)} for row in controls_of(figures)),
        *({**row, "name": called(row), "what": _citation(row["name"])} for row in best_first(figures["methods"])),
    ]
    there = dict.fromkeys(name for row in rows for name in row["measures"])
    tables = [
        (SPLITS.get(split, split), [name for name in there if name.partition("/")[0] == split and "/" in name])
        for split in figures["asked"]
    ]
    return render_page(
        "questions.html.jinja",
        name=folder.path.resolve().name,
        title=SUITES[figures["suite"]],
        figures=figures,
        rows=rows,
        apart=2 + len(controls_of(figures)),
        main=_parts([name for name in MAIN if name in there]),
        aside=[name for name in ASIDE if name in there],
        tables=[(title, _parts(names)) for title, names in tables if names],
        words=MEASURES,
        used=[MEASURES[each] for each in dict.fromkeys(name.rpartition("/")[2] for name in there)],
        best=best(figures["methods"], figures["taught_model"]),
        alike=ALIKE,
        shown=shown,
        heading=heading,
        fronts=fronts(figures),
        tuned=TUNED if any(row.get("tuned") for row in figures["methods"]) else "",
        settings=[(called(row), _settings(row["settings"])) for row in [*figures["methods"], *figures["failed"]]],
        several=figures["seeds"] > 1,
    )


def utility_of(measures: Mapping[str, Any]) -> str:
    """The measure of utility there is: the model's, or that of the retain set."""
    return "model_utility" if "model_utility" in measures else "retain/rouge_l_recall"


def best_first(methods: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Methods by forget quality where it is known, else by what is recalled of the forget set; then by utility."""

    def key(row: Mapping[str, Any]) -> tuple[float, float]:
        measures = row["measures"]
        quality = measures["forget_quality"]["value"] if "forget_quality" in measures else None
        forgotten = quality if quality is not None else -measures["forget/rouge_l_recall"]["value"]
        return -forgotten, -measures[utility_of(measures)]["value"]

    return sorted(methods, key=key)


def best(methods: Sequence[Mapping[str, Any]], taught: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The method with most utility among those that the test cannot tell from the oracle, with any seed; None where there
    is none.

    And where the test cannot tell the taught model from the oracle, either: then it says nothing.
    """
    if taught.get("forget_quality", {"value": 0.0})["value"] > ALIKE:
        return None
    alike = [row for row in methods if row["measures"].get("forget_quality", {"value": 0.0})["value"] > ALIKE]
    return max(alike, key=lambda row: row["measures"][utility_of(row["measures"])]["value"], default=None)


def shown(found: Mapping[str, Any] | None, name: str) -> tuple[str, str]:
    """(value, interval) of a measure, formatted; no interval where none is known."""
    if found is None:
        return "–", ""
    digits = 1 if name == "privleak" else 3

    def said(value: float) -> str:
        small = name.startswith("forget_quality") and value < 0.001
        return numbers.plain(value) if small else numbers.fixed(value, digits)

    limits = "" if found["low"] is None else f"[{said(found['low'])}, {said(found['high'])}]"
    return said(found["value"]), limits


def called(row: Mapping[str, Any]) -> str:
    """A method's name, with the mark of one that a grid tuned."""
    return f"{row['name']} (tuned)" if row.get("tuned") else str(row["name"])


def controls_of(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The controls that were asked; none in a folder of an earlier version."""
    return list(figures.get("controls", []))


def as_control(row: Mapping[str, Any]) -> str:
    """A control's name, with what it is."""
    return f"{row['name']} (control)"


def heading(name: str) -> str:
    """The head of a measure's column."""
    split, _, measure = name.rpartition("/")
    title = MEASURES[measure].title
    return f"{SPLITS.get(split, split)}: {title}" if split else title


def fronts(figures: Mapping[str, Any]) -> list[Any]:
    """The figures: forget quality against utility, and recall of the forget set against utility."""
    utility = utility_of(figures["oracle"])
    drawn = []
    for number, (measure, at) in enumerate((("forget_quality", 1.0), ("forget/rouge_l_recall", None))):
        oracle = plots.point("oracle", figures["oracle"], utility, measure, at)
        taught = plots.point("taught", figures["taught_model"], utility, measure)
        points = [plots.point(row["name"], row["measures"], utility, measure) for row in figures["methods"]]
        points += [plots.point(as_control(row), row["measures"], utility, measure) for row in controls_of(figures)]
        if oracle is not None and (measure in figures["taught_model"]):
            drawn.append(
                plots.front(f"front-{number}", [each for each in points if each is not None], taught, oracle,
                            heading(utility), heading(measure), logarithmic=measure == "forget_quality")
            )  # fmt: skip
    return drawn


def print_questions(figures: Mapping[str, Any]) -> None:
    """The table of a suite for the console."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 220
    rows = [("taught", figures["taught_model"]), ("oracle", figures["oracle"])]
    rows += [(as_control(row), row["measures"]) for row in controls_of(figures)]
    rows += [(called(row), row["measures"]) for row in best_first(figures["methods"])]
    names = [name for name in MAIN if any(name in measures for _, measures in rows)]
    table = Table(box=None, pad_edge=False)
    for header in ("method", *map(heading, names)):
        table.add_column(header)
    for name, measures in rows:
        table.add_row(name, *(" ".join(filter(None, shown(measures.get(each), each))) for each in names))
    console.print(table)
    for row in figures["failed"]:
        console.print(f"{row['name']}: {row['models']} of {row['of']} models: {row['reason']}")
    count = figures["asked"]["forget"]
    console.print(
        f"\n{count} questions of the forget set, {figures['seeds']} models of each method. 95 % intervals, none of p-values."
    )
    if figures["seeds"] > 1:
        console.print("Means over seeds; forget quality of the seed that is farthest from the oracle.")
    tuned = [TUNED] if any(row.get("tuned") for row in figures["methods"]) else []
    hidden = [f"(control): {row['what']}" for row in controls_of(figures)[:1]]
    for sentence in [*tuned, *hidden, *figures["left_out"]]:
        console.print(f"Note: {sentence}.")


def _parts(names: Sequence[str]) -> list[Sequence[str]]:
    """Measures in tables that fit on a page."""
    return [names[start : start + ACROSS] for start in range(0, len(names), ACROSS)]


def _citation(name: str) -> str:
    return wording.title((method_class(name).__doc__ or "").strip().partition("\n")[0]) or ""


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """A method's own settings, and those of its training that are usually tuned."""
    own = {key: value for key, value in settings["method"].items() if key != "name"}
    tuned = ("learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "adapter_rank")
    return [*own.items(), *((key, settings["training"][key]) for key in tuned if settings["training"][key] is not None)]
