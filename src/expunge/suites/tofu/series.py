"""Forget sets one beside another or one after another: how a method bears their size, and their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from expunge.suites.tofu.cells import Cell
from expunge.suites.tofu.figures import Answers, model_figures
from expunge.suites.tofu.sets import Scoring, Series

Steps = Sequence[tuple[Mapping[str, Any], Answers]]
"the cost of each part, or why it failed, and the model's answers then"


def part_of(cell: Cell, series: Series, number: int, model: str, data: Path) -> Cell:
    """A cell as it is for one part of a series: that forget set, that model to begin with, and a folder of its own."""
    name = f"{series.name}-{number}"
    recipe = cell.recipe.model_copy(update={"forget": str(data / f"{name}.jsonl"), "model": model})
    group = f"{cell.group}-{name}"
    return replace(cell, group=group, recipe=recipe, path=cell.path.parent.parent / group / str(cell.seed))


def series_figures(
    made: Sequence[tuple[Cell, Steps]], truths: Mapping[str, Sequence[str]], scoring: Scoring
) -> list[dict[str, Any]]:
    """For each method the measures after each part: {name, group, steps: [{part, measures, failed}]}.

    Measures are means over the seeds whose training did not fail; None if all did.
    """
    groups: dict[str, list[tuple[Cell, Steps]]] = {}
    for cell, steps in made:
        groups.setdefault(cell.group, []).append((cell, steps))
    found = []
    for group, cells in groups.items():
        rows = []
        for number in range(len(cells[0][1])):
            step = [steps[number] for _, steps in cells]
            answers = [each for spent, each in step if not spent["failed"]]
            own = {split: truths[split] for split in (answers[0] if answers else ())}
            rows.append({
                "part": number + 1,
                "measures": model_figures(answers, own, None, scoring) if answers else None,
                "failed": "; ".join(sorted({spent["failed"] for spent, _ in step if spent["failed"]})),
            })  # fmt: skip
        found.append({"name": cells[0][0].method, "group": group, "steps": rows})
    return found
