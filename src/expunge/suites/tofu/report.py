"""`report.html` of a suite of questions, and its table for the console, from its figures alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.words import counted
from expunge.errors import RunError
from expunge.report import numbers, wording
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.runs.registry import method_class
from expunge.runs.suite import suite_of
from expunge.suites.tofu import plots
from expunge.suites.tofu.words import ASIDE, MAIN, MEASURES, SERIES, SPLITS, SUITES, TUNED

ACROSS = 6
"measures in a table"
HEAD = 26
"letters in a line of a column's head on the console"
ALIKE = 0.05
"p-value above which the test cannot distinguish a model from the oracle (TOFU)"


def read_figures(folder: RunFolder) -> dict[str, Any]:
    """The figures of a suite's folder, of as many models as there are. Raises `RunError` if there are none yet."""
    made_by = suite_of(folder.path)
    path = folder.path if made_by is None else folder.path / made_by.marks[0]
    if not path.is_file():
        raise RunError(
            f"{folder.path} has no figures yet: the suite has not ended",
            next_step="run the command that started it again; it resumes where it stopped",
        )
    figures: dict[str, Any] = storage.read_json(path)
    return figures


def render_questions(folder: RunFolder) -> Path:
    """Write `report.html` of a suite's folder and return its path. Raises `RunError` if it has no figures yet."""
    storage.write_text(folder.report, questions_page(folder))
    return folder.report


def questions_page(folder: RunFolder) -> str:
    """The page as HTML: it loads nothing, needs no script; equal figures give equal bytes."""
    figures = read_figures(folder.require())
    what = {"taught": "before", "before": "as it was given", "oracle": "never saw the forget set"}
    others = [{"name": name, "measures": measures, "what": what[name]} for name, measures in references(figures)]
    others += [{**row, "name": as_control(row)} for row in controls_of(figures)]
    rows = [
        *others,
        *({**row, "name": called(row), "what": _citation(row["name"])} for row in best_first(figures)),
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
        count=(figures["taught"] or figures["given"])["forget"],
        unit=figures.get("unit", "answers"),
        rows=rows,
        apart=len(others),
        series=[(SERIES[name], series_tables(figures, name)) for name in figures.get("series", {})],
        notes=[*_chances(figures), *figures["left_out"], *figures["notices"]],
        main=_parts([name for name in MAIN if name in there]),
        aside=[name for name in ASIDE if name in there],
        tables=[(title, _parts(names)) for title, names in tables if names],
        words=MEASURES,
        used=[MEASURES[each] for each in dict.fromkeys(name.rpartition("/")[2] for name in there)],
        best=best(figures["methods"], figures["taught_model"]),
        alike=ALIKE,
        unfinished=unfinished(figures),
        shown=shown,
        heading=heading,
        fronts=fronts(figures),
        chance_drawn=any(name.partition("/")[0] in figures.get("chance", {}) for name in axes(figures)[0]),
        tuned=TUNED if any(row.get("tuned") for row in figures["methods"]) else "",
        settings=[(called(row), _settings(row["settings"])) for row in [*figures["methods"], *figures["failed"]]],
        several=figures["seeds"] > 1,
    )


def unfinished(figures: Mapping[str, Any], done: str = "asked") -> str:
    """How far a suite came that has not ended; empty for one that has.

    Args:
        done: what is done to each model that was made.
    """
    found = figures.get("unfinished")
    if not found:
        return ""
    series = "; the series come after them" if found["made"] == found["of"] else ""
    return f"{found['made']} of {found['of']} models are made and {done} so far{series}. The same command resumes"


def axes(figures: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """(measures of forgetting, the least is the most; the measure of utility, or None): what a suite is looked at
    by."""
    found = figures.get("axes") or {"forgotten": ["forget/rouge_l_recall"], "utility": "retain/rouge_l_recall"}
    utility = "model_utility" if "model_utility" in figures["taught_model"] else found["utility"]
    return found["forgotten"], utility


def references(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(name, measures) of the models that methods are held against: the one before, and the oracle if there is one."""
    if figures["oracle"] is None:
        return [("before", figures["taught_model"])]
    return [("taught", figures["taught_model"]), ("oracle", figures["oracle"])]


def best_first(figures: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Methods by forget quality where it is known, else by the mean of the measures of forgetting; then by utility."""
    forgotten, utility = axes(figures)

    def key(row: Mapping[str, Any]) -> tuple[float, float]:
        measures = row["measures"]
        if "forget_quality" in measures:
            first = -measures["forget_quality"]["value"]
        else:
            first = sum(measures[name]["value"] for name in forgotten)
        return first, -measures[utility]["value"] if utility else 0.0

    return sorted(figures["methods"], key=key)


def chances(chance: Mapping[str, float], measures: Mapping[str, Any], who: str = "the model before") -> list[str]:
    """What a guess has of each multiple-choice split, and where a model has no more."""
    said = []
    for split, share in chance.items():
        name = SPLITS.get(split, split)
        said.append(f"chance is {share:.1%} on {name}")
        if measures[f"{split}/above_chance"]["low"] <= 0:
            said.append(f"{who} is not above chance on {name}: these questions show no forgetting, and no harm")
    return said


def _chances(figures: Mapping[str, Any]) -> list[str]:
    return chances(figures.get("chance", {}), figures["taught_model"])


def series_tables(figures: Mapping[str, Any], name: str) -> list[tuple[str, list[str], list[list[str]]]]:
    """(measure, columns, rows) of a series: for each method its value before, and after each part."""
    forgotten, utility = axes(figures)
    made = figures["series"][name]
    columns = ["before", *(f"{step['part']}" for step in (made[0]["steps"] if made else ()))]
    tables = []
    for measure in [each for each in (*forgotten, utility) if each]:
        rows = []
        for row in made:
            steps = [" ".join(shown(step["measures"][measure], measure)) if step["measures"] else step["failed"]
                     for step in row["steps"]]  # fmt: skip
            rows.append([row["name"], shown(figures["taught_model"][measure], measure)[0], *steps])
        tables.append((heading(measure), columns, rows))
    return tables


def best(methods: Sequence[Mapping[str, Any]], taught: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The method with most utility among those that the test cannot tell from the oracle, with any seed; None if there
    is none.

    And where the test cannot tell the taught model from the oracle, either: then it says nothing.
    """
    if taught.get("forget_quality", {"value": 0.0})["value"] > ALIKE:
        return None
    alike = [row for row in methods if row["measures"].get("forget_quality", {"value": 0.0})["value"] > ALIKE]

    def kept(row: Mapping[str, Any]) -> float:
        measures = row["measures"]
        return float(measures["model_utility" if "model_utility" in measures else "retain/rouge_l_recall"]["value"])

    return max(alike, key=kept, default=None)


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
    """The figures: forget quality against utility, and each measure of forgetting against utility."""
    forgotten, utility = axes(figures)
    if utility is None:
        return []
    drawn = []
    before, others = figures["taught_model"], figures["oracle"]
    for number, (measure, at) in enumerate((("forget_quality", 1.0), *((each, None) for each in forgotten))):
        if measure not in before:
            continue
        oracle = None if others is None else plots.point("oracle", others, utility, measure, at)
        taught = plots.point("before" if others is None else "taught", before, utility, measure)
        points = [plots.point(row["name"], row["measures"], utility, measure) for row in figures["methods"]]
        points += [plots.point(as_control(row), row["measures"], utility, measure) for row in controls_of(figures)]
        line = ALIKE if measure == "forget_quality" else figures.get("chance", {}).get(measure.partition("/")[0])
        drawn.append(
            plots.front(f"front-{number}", [each for each in points if each is not None], taught, oracle,
                        heading(utility), heading(measure), measure == "forget_quality", line)
        )  # fmt: skip
    return drawn


def print_questions(figures: Mapping[str, Any]) -> None:
    """The table of a suite for the console."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 220
    rows = [
        *references(figures),
        *((as_control(row), row["measures"]) for row in controls_of(figures)),
        *((called(row), row["measures"]) for row in best_first(figures)),
    ]
    names = [name for name in MAIN if any(name in measures for _, measures in rows)]
    body = [
        [name, *(" ".join(filter(None, shown(measures.get(each), each))) for each in names)] for name, measures in rows
    ]
    for number, part in enumerate(_side_by_side(["method", *map(heading, names)], body, console.width)):
        console.print("\n" * bool(number), _table(*part), sep="", end="")
    for row in figures["failed"]:
        console.print(f"{row['name']}: {row['models']} of {row['of']} models: {row['reason']}")
    for name in figures.get("series", {}):
        for measure, columns, lines in series_tables(figures, name):
            console.print(f"\n{SERIES[name]}: {measure}")
            for each in _side_by_side(["method", *columns], lines, console.width):
                console.print(_table(*each))
    split, count = next(iter(figures["asked"].items()))
    of = "question of the forget set" if split == "forget" else f"row of {SPLITS.get(split, split)}"
    asked = counted(count, of, of.replace(" of", "s of", 1))
    many = f"{counted(figures['seeds'], 'model')} of each method"
    console.print(f"\n{asked}, {many}. 95 % intervals, none of p-values.")
    if figures["seeds"] > 1:
        console.print("Means over seeds; forget quality of the seed that is farthest from the oracle.")
    tuned = [TUNED] if any(row.get("tuned") for row in figures["methods"]) else []
    hidden = [f"(control): {row['what']}" for row in controls_of(figures)[:1]]
    for sentence in [*tuned, *hidden, *_chances(figures), *figures["left_out"]]:
        console.print(f"Note: {sentence}.")


def _side_by_side(
    columns: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> Iterator[tuple[list[str], list[list[str]], list[int]]]:
    """(columns, rows, widths) of as many tables as the console needs; the first column stands in each."""
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(columns))]
    widths = [
        max(own, min(len(head), HEAD), *map(len, head.split())) for own, head in zip(widths, columns, strict=True)
    ]
    rest = list(range(1, len(columns)))
    while rest:
        chosen = [0]
        while rest and (len(chosen) == 1 or sum(widths[i] + 2 for i in (*chosen, rest[0])) - 2 <= width):
            chosen.append(rest.pop(0))
        yield [columns[i] for i in chosen], [[row[i] for i in chosen] for row in rows], [widths[i] for i in chosen]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for header, width in zip(columns, widths, strict=True):
        table.add_column(header, width=width)
    for row in rows:
        table.add_row(*row)
    return table


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
