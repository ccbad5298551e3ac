"""Runs side by side: one line a score, a column a run, and the change against the first run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.safe_text import clean
from expunge.core.score import Score
from expunge.errors import RunError
from expunge.report import figures, numbers, wording
from expunge.report.audit import audit_of_run
from expunge.report.contents import Contents, read_contents
from expunge.report.front import Point, front, point
from expunge.report.page import render_page
from expunge.report.record import changed_since
from expunge.report.recoveries import recoveries
from expunge.report.scores_table import Row, change, rows, score_text
from expunge.report.verdict_words import verdict_words
from expunge.runs.folder import RunFolder

SAME_EXAMPLES = ("forget", "forget_also", "retain", "evaluation", "toxicity", "data", "test_data", "images", "seed")
"fields of the recipe that determine which examples are measured"
BASE = "base model"


@dataclass(frozen=True)
class Line:
    """One measure and split over all runs.

    `row` describes it; `values` has one (value, interval) a run, None if it was not measured; `changes` one text
    a run after the first; `scores` the scores themselves by the run's name.
    """

    row: Row
    before: tuple[str, str] | None
    values: tuple[tuple[str, str] | None, ...]
    changes: tuple[str, ...]
    scores: dict[str, Score]

    @property
    def n(self) -> str:
        """Examples measured; all of them if the runs differ."""
        return replace(self.row, by_model=self.scores).n


@dataclass(frozen=True)
class Comparison:
    """`names` of the runs, `facts` about them (verdict, method, cost) as (name, one text a run), and the score lines.

    `before` of a line is the base model's score if all runs began from the same one, else None.
    """

    names: tuple[str, ...]
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    lines: tuple[Line, ...]
    points: dict[str, Point]
    "forgetting and damage of the runs with measures of both"
    audits: Mapping[str, Mapping[str, Any]]
    "findings of the audit, for runs whose model was audited"

    def row(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "runs": list(self.names),
            "facts": {name: dict(zip(self.names, values, strict=True)) for name, values in self.facts},
            "scores": [
                {
                    "measure": line.row.measure,
                    "split": line.row.split,
                    "by_run": {name: score.row() for name, score in line.scores.items()},
                    "change_against_the_first": dict(zip(self.names[1:], line.changes, strict=True)),
                }
                for line in self.lines
            ],
            "forgetting_against_damage": {name: asdict(each) for name, each in self.points.items()},
        }

    def __str__(self) -> str:
        """The comparison as a plain text table."""
        header = ["", "n", "better", "before", *self.names]
        body = [[name, "", "", "", *values] for name, values in self.facts]
        for line in self.lines:
            body.append([line.row.label, line.n, line.row.better, _joined(line.before), *map(_joined, line.values)])
            if any(line.changes):
                body.append(["… change against the first", "", "", "", "", *line.changes])
        return text_table([header, *body])


def compare_runs(folders: Sequence[RunFolder], out: Path | None = None) -> Comparison:
    """Compare the unlearned models of two or more runs side by side; with `out`, also write it as a page.

    Changes against the first run have a paired 95 % interval if both runs measured the same examples: their
    records have equal digests of the base model and of the set, they have the same number of per-example values, and
    either the same values for the base model or the same sets, seed and evaluation in their recipes.

    Raises `RunError` for fewer than two runs, and for a folder without scores.
    """
    if len(folders) < 2:
        raise RunError("a comparison needs two runs or more", seen=len(folders), next_step="name two run folders")
    for folder in folders:
        folder.require().read_scores()
    runs = dict(zip(names_of(folders), map(read_contents, folders), strict=True))
    facts = (*_facts(list(runs.values())), ("Scores", tuple(map(_as_recorded, folders, runs.values()))))
    points = {name: found for name, run in runs.items() if (found := point(run.scores)) is not None}
    audited = {
        name: audit_of_run(folder, run.record) for folder, (name, run) in zip(folders, runs.items(), strict=True)
    }
    audits = {name: audit for name, audit in audited.items() if audit is not None}
    comparison = Comparison(names=tuple(runs), facts=facts, lines=_lines(runs), points=points, audits=audits)
    if out is not None:
        storage.write_text(out, _page(comparison))
    return comparison


def _as_recorded(folder: RunFolder, run: Contents) -> str:
    """Whether a run's scores are still those of its record; the whole folder is checked by `expunge verify`."""
    changed = changed_since(folder, run.record)
    if changed is None:
        return "no record to check them by"
    return f"CHANGED since they were recorded: {', '.join(changed)}" if changed else "as recorded"


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of equally many cells, the first of them the header, as plain text."""
    table = [[_one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines) + "\n"


def names_of(folders: Sequence[RunFolder]) -> list[str]:
    """Label of each folder: its name, or its path if names are the same."""
    short = [folder.path.resolve().name for folder in folders]
    if len(set(short)) == len(short):
        return short
    long = [folder.path.as_posix() for folder in folders]
    return [f"{name} ({place})" if long.count(name) > 1 else name for place, name in enumerate(long, 1)]


def _facts(runs: Sequence[Contents]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    first, *others = runs
    costs: list[Mapping[str, Any]] = [run.part("cost") or {} for run in runs]
    steps = [cost.get("steps") for cost in costs]
    return (
        ("Verdict", tuple(verdict_words(run.part("verdict")).headline.lower() for run in runs)),
        ("Forgotten", tuple(run.title for run in runs)),
        ("Model", tuple(str(run.recipe.get("model", "not named")) for run in runs)),
        ("Method", tuple(run.method_title for run in runs)),
        ("Steps", tuple(numbers.UNKNOWN if taken is None else numbers.count(taken) for taken in steps)),
        ("Time in all", tuple(numbers.seconds(cost.get("seconds_total")) for cost in costs)),
        ("Peak memory", tuple(map(numbers.peaks, costs))),
        ("In pairs with the first", ("", *(_pairs(first, run) for run in others))),
    )


def _pairs(first: Contents, other: Contents) -> str:
    """Which scores of two runs can be paired, in words; by the same rule as `_same_examples`."""
    if _apart(first, other, BASE):
        return "no: another base model"
    digests = {**(first.part("digests") or {}), **(other.part("digests") or {})}
    sets = [name for name in digests if name.endswith(" set") and _apart(first, other, name)]
    return f"not on what differs: {', '.join(sets)}" if sets else "yes"


def _apart(first: Contents, other: Contents, name: str) -> bool:
    """Whether the digests of that name differ; a missing one of the base model counts as different."""
    one, two = ((run.part("digests") or {}).get(name) for run in (first, other))
    return one != two or (name == BASE and not one)


def _lines(runs: Mapping[str, Contents]) -> tuple[Line, ...]:
    tables = {name: {(row.measure, row.split): row for row in rows(run.scores)} for name, run in runs.items()}
    every = rows(score for run in runs.values() for score in run.scores if score.model == "unlearned")
    return tuple(_line(runs, {name: table.get((row.measure, row.split)) for name, table in tables.items()}, row)
                 for row in every)  # fmt: skip


def _line(runs: Mapping[str, Contents], found: Mapping[str, Row | None], row: Row) -> Line:
    after = {name: r.by_model["unlearned"] for name, r in found.items() if r and "unlearned" in r.by_model}
    bases = [r.by_model.get("base") for r in found.values() if r]
    same_base = bases[0] is not None and all(base == bases[0] for base in bases)
    first, *others = runs
    return Line(
        row=row,
        before=score_text(bases[0]) if same_base and bases[0] else None,
        values=tuple(score_text(after[name]) if name in after else None for name in runs),
        changes=tuple(
            _changed(after[first], after[name], _same_examples(runs, found, first, name))
            if first in after and name in after
            else ""
            for name in others
        ),
        scores=after,
    )


def _changed(before: Score, after: Score, paired: bool) -> str:
    """The change in words; there is none for scores over different numbers of examples."""
    if before.n != after.n:
        return f"not given: n is {numbers.count(before.n)} there, {numbers.count(after.n)} here"
    return change(before, after, paired=paired)


def _same_examples(runs: Mapping[str, Contents], found: Mapping[str, Row | None], first: str, other: str) -> bool:
    """The same number of values does not make pairs: the model and the examples must be the same, too."""
    split = next(row.split for row in found.values() if row)
    if any(_apart(runs[first], runs[other], name) for name in (BASE, f"{split} set")):
        return False
    bases = [row.by_model.get("base") if (row := found[name]) else None for name in (first, other)]
    if bases[0] and bases[1] and bases[0].examples and bases[0].examples == bases[1].examples:
        return True
    return all(runs[first].recipe.get(field) == runs[other].recipe.get(field) for field in SAME_EXAMPLES)


def _one_line(cell: str) -> str:
    """A cell fit for a terminal: one line, no control characters."""
    return clean(re.sub(r"[\s\u00a0]+", " ", cell.strip()))


def _joined(pair: tuple[str, str] | None) -> str:
    return f"{pair[0]} {pair[1]}" if pair else "-"


def _page(comparison: Comparison) -> str:
    groups, dots_of = [], figures.run_dots(comparison.names)
    for family, title in wording.GROUPS.items():
        members = [line for line in comparison.lines if line.row.family == family]
        if members:
            drawn = figures.panels(
                (line.row.label, line.row.unit, line.row.words.percent, line.scores) for line in members
            )
            dots = figures.dots(f"dots-{family}", title, drawn, dots_of)
            groups.append((title, members, dots))
    standing = front(comparison.points, dots_of) if len(comparison.points) > 1 else None
    return render_page(
        "compare.html.jinja",
        comparison=comparison,
        groups=groups,
        front=standing,
        recoveries=recoveries(comparison.audits, dots_of),
        place={name: place for place, name in enumerate(comparison.names)},
    )
