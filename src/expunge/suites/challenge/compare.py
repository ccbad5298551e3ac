"""Contests side by side: how far every method came on each forget set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RunError
from expunge.report import numbers
from expunge.report.compare import names_of, text_table
from expunge.report.page import render_page
from expunge.runs.folder import RunFolder
from expunge.runs.suite import suite_of
from expunge.suites.challenge.report import estimate, read_figures, read_recipe
from expunge.suites.challenge.suite import SUITE

Pair = tuple[str, str]
"""(value, interval), formatted"""


@dataclass(frozen=True)
class Place:
    """A method in one contest; `state` is the reason for a score of 0, if so."""

    share: Pair
    retain: Pair
    test: Pair
    state: str = ""


@dataclass(frozen=True)
class MethodLine:
    """A method over all contests.

    Attributes:
        places: one per contest; None if it did not take part.
        mean: of F over the ceiling; None unless it kept to the budget in every contest.
        lowest: retain and test ratio of the contest where they are lowest.
        same_settings: whether it took part with the same settings everywhere.
    """

    name: str
    places: tuple[Place | None, ...]
    mean: float | None
    lowest: tuple[float, float] | None
    same_settings: bool


@dataclass(frozen=True)
class ContestComparison:
    """`names` of the contests, `facts` about them as (name, one text per contest), and the methods, best mean first."""

    names: tuple[str, ...]
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    methods: tuple[MethodLine, ...]

    def row(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {
            "contests": list(self.names),
            "facts": dict(self.facts),
            "methods": [asdict(each) for each in self.methods],
        }

    def __str__(self) -> str:
        """The comparison as plain text: facts, then methods with F over the ceiling, retain and test ratio."""
        header = ["method", *self.names, "mean", "lowest retain ratio", "lowest test ratio"]
        body = [[line.name, *map(_text, line.places), *summary(line)] for line in self.methods]
        facts = text_table([["", *self.names], *([name, *values] for name, values in self.facts)])
        heading = "Methods: F / ceiling [95 % interval], with the retain and the test ratio behind it"
        notes = [f"{line.name} took part with other settings." for line in self.methods if not line.same_settings]
        return "\n".join([facts, heading, "", text_table([header, *body]), *notes])


def compare_contests(folders: Sequence[RunFolder], out: Path | None = None) -> ContestComparison:
    """Compare two or more contests side by side; with `out`, also write it as a page.

    Raises:
        RunError: fewer than two; a folder of a single run among them; a contest that has not ended.
    """
    if len(folders) < 2:
        raise RunError("a comparison needs two contests or more", seen=len(folders), next_step="name two folders")
    if others := [str(folder.path) for folder in folders if suite_of(folder.path) is not SUITE]:
        raise RunError(
            "runs and contests cannot be compared with each other",
            seen=f"no contest: {', '.join(others)}",
            allowed="folders of one kind",
        )
    contests = [read_figures(folder) for folder in folders]
    comparison = ContestComparison(tuple(names_of(folders)), _facts(folders, contests), _methods(contests))
    if out is not None:
        page = render_page("compare_contests.html.jinja", comparison=comparison, summary=summary)
        storage.write_text(out, page)
    return comparison


def summary(line: MethodLine) -> tuple[str, str, str]:
    """Mean of F over the ceiling, lowest retain and test ratio, formatted."""
    mean = "–" if line.mean is None else numbers.fixed(line.mean, 2)
    if line.lowest is None:
        return mean, "–", "–"
    return mean, numbers.fixed(line.lowest[0], 3), numbers.fixed(line.lowest[1], 3)


def _facts(
    folders: Sequence[RunFolder], contests: Sequence[Mapping[str, Any]]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    recipes = [read_recipe(folder)[1] for folder in folders]
    accuracies = [contest["retrained_accuracy"] for contest in contests]
    return (
        *((name.capitalize(), tuple(str(recipe.get(name, "not named")) for recipe in recipes))
          for name in ("data", "model", "forget", "seed")),
        ("Forgotten pictures", tuple(numbers.count(contest["examples"]) for contest in contests)),
        ("Models of a kind", tuple(numbers.count(contest["models"]) for contest in contests)),
        ("Ceiling: F of retraining", tuple(_joined(estimate(contest["ceiling"]["forgetting"])) for contest in contests)),
        *((f"Retrained models, {split} set", tuple(numbers.share(found[split]) for found in accuracies))
          for split in ("forget", "retain", "test")),
    )  # fmt: skip


def _methods(contests: Sequence[Mapping[str, Any]]) -> tuple[MethodLine, ...]:
    tables = [{row["name"]: row for row in contest["methods"]} for contest in contests]
    failed = [{row["name"]: row for row in contest.get("diverged", [])} for contest in contests]
    names = dict.fromkeys(name for both in zip(tables, failed, strict=True) for each in both for name in each)
    lines = [_line(name, [table.get(name) for table in tables], [rows.get(name) for rows in failed]) for name in names]
    return tuple(sorted(lines, key=lambda line: (line.mean is None, -(line.mean or 0.0))))


def _line(
    name: str, rows: Sequence[Mapping[str, Any] | None], failed: Sequence[Mapping[str, Any] | None]
) -> MethodLine:
    places = tuple(_place(row, bad) for row, bad in zip(rows, failed, strict=True))
    there = [row for row in rows if row is not None]
    found = [(row["share_of_ceiling"] or {}).get("value") for row in there if not row["over_budget"]]
    shares = [float(share) for share in found if share is not None]
    lowest = [min((row[key]["value"] for row in there), default=None) for key in ("retain_ratio", "test_ratio")]
    settings = [row.get("settings") for row in [*there, *(bad for bad in failed if bad is not None)]]
    return MethodLine(
        name=name,
        places=places,
        mean=sum(shares) / len(shares) if len(shares) == len(rows) else None,
        lowest=None if lowest[0] is None or lowest[1] is None else (lowest[0], lowest[1]),
        same_settings=all(each == settings[0] for each in settings),
    )


def _place(row: Mapping[str, Any] | None, failed: Mapping[str, Any] | None) -> Place | None:
    if row is not None:
        return Place(
            share=estimate(row["share_of_ceiling"], 2),
            retain=estimate(row["retain_ratio"]),
            test=estimate(row["test_ratio"]),
            state="over budget" if row["over_budget"] else "",
        )
    return None if failed is None else Place(("–", ""), ("–", ""), ("–", ""), state="diverged")


def _text(place: Place | None) -> str:
    if place is None:
        return "-"
    if place.state == "diverged":
        return place.state
    cell = f"{_joined(place.share)}, {place.retain[0]}, {place.test[0]}"
    return f"{cell} ({place.state})" if place.state else cell


def _joined(pair: Pair) -> str:
    return " ".join(part for part in pair if part)
