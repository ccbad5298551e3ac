"""`report.html` of a sweep, and its table for the console, from `sweep.json` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.safe_text import clean
from expunge.core.words import counted
from expunge.errors import RunError
from expunge.report import numbers
from expunge.report.compare import text_table
from expunge.report.figures import Dot
from expunge.report.front import Point, front
from expunge.report.page import render_page
from expunge.report.svg import BLUE, MUTED
from expunge.runs.folder import RunFolder
from expunge.runs.measures import measures

SWEEP = "sweep.json"
CHOSEN = (
    "The settings on the front were chosen by these very scores, and the best of many looks better than it is: judge "
    "the one that holds on other prompts or with another seed."
)
VERDICTS = {True: "passed", False: "failed", None: "not made"}


def is_sweep(path: Path) -> bool:
    """Whether a folder is a sweep's that has ended."""
    return (path / SWEEP).is_file()


def render_sweep(folder: RunFolder) -> Path:
    """Write `report.html` of a sweep's folder and return its path. Raises `RunError` if it has not ended."""
    if not is_sweep(folder.path):
        raise RunError(
            f"{folder.path} has no {SWEEP}: the sweep has not ended",
            next_step="run the command that started it again; it resumes where it stopped",
        )
    found: dict[str, Any] = storage.read_json(folder.path / SWEEP)
    points = points_of(found["trials"])
    best = set(found["front"])
    dots = {
        name: Dot(name if name in best else "", BLUE if name in best else MUTED, "o", filled=name in best)
        for name in points
    }
    page = render_page(
        "sweep.html.jinja",
        name=folder.path.resolve().name,
        found=found,
        fields=list(found["over"]),
        done=[each for each in found["trials"] if not each["failed"]],
        failed=[each for each in found["trials"] if each["failed"]],
        best=best,
        figure=front(points, dots) if points else None,
        setting=setting,
        score=score,
        verdicts=VERDICTS,
        chosen=CHOSEN,
    )
    storage.write_text(folder.report, page)
    return folder.report


def setting(values: Mapping[str, Any], field: str) -> str:
    """A trial's value of a field; a dash where its method has no such field."""
    if field not in values:
        return "–"
    value = values[field]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def score(found: Mapping[str, Any]) -> str:
    """A score after unlearning, with interval and n."""
    percent = found["measure"] in measures() and measures()[found["measure"]].percent
    limits = numbers.interval(found["low"], found["high"], percent)
    return " ".join(
        filter(None, (numbers.value(found["value"], percent), limits, f"n\u00a0{numbers.count(found['n'])}"))
    )


def sweep_table(found: Mapping[str, Any]) -> str:
    """The trials as a plain text table, those on the front marked; then those that failed, with the reason."""
    fields, best = list(found["over"]), set(found["front"])
    rows = [["", *fields, "left", "by", "after", "damage", "of", "after", "verdict", "time"]]
    for each in found["trials"]:
        if not each["failed"]:
            rows.append([
                f"{each['name']}{' *' if each['name'] in best else ''}",
                *(setting(each["values"], field) for field in fields),
                numbers.share(each["left"]), each["left_by"], score(each["left_score"]),
                numbers.share(each["damage"]), each["damage_by"], score(each["damage_score"]),
                VERDICTS[each["passed"]], numbers.seconds(each["seconds"]),
            ])  # fmt: skip
    lines = [text_table(rows).rstrip()] if len(rows) > 1 else ["No trial has scores."]
    failed = [each for each in found["trials"] if each["failed"]]
    for each in failed:
        values = ", ".join(f"{field} {setting(each['values'], field)}" for field in each["values"])
        lines.append(clean(f"{each['name']} failed ({values}): {each['failed']}"))
    if failed:
        lines.append(f"{len(failed)} of {counted(len(found['trials']), 'trial')} failed.")
    if best:
        lines += ["", "* no other trial beats it in both. After: the score, its 95 % interval and n.", CHOSEN]
    return "\n".join(lines)


def points_of(trials: Sequence[Mapping[str, Any]]) -> dict[str, Point]:
    """Where the trials that have scores stand, by name."""
    parts = ("left", "left_by", "damage", "damage_by")
    return {each["name"]: Point(*(each[part] for part in parts)) for each in trials if not each["failed"]}
