"""The report's table of several targets separately, below the figures of all of them together."""

from __future__ import annotations

from typing import Any

from expunge.core.score import Score
from expunge.report import wording
from expunge.report.contents import Contents
from expunge.report.scores_table import score_text
from expunge.runs.measure import TARGET

SHOWN = ("familiarity_completion", "familiarity_probability", "secret_exposure", "verbatim_recall", "perplexity")
"a column each, if measured"
OPEN = 24
"targets shown at once; the others are folded"


def targets_part(contents: Contents) -> dict[str, Any] | None:
    """Columns and rows of the table; None if there is one target, or none was measured separately."""
    sizes = contents.part("targets")
    if not isinstance(sizes, list) or not sizes:
        return None
    found = {(score.measure, score.split, score.model): score for score in contents.scores}
    states = {each["name"]: each["state"] for each in (contents.part("verdict") or {}).get("targets", ())}
    measured = [measure for measure in SHOWN if any((measure, each["split"], "base") in found for each in sizes)]
    rows = [_row("all together", "forget", measured, found, None)]
    rows += [
        _row(each["name"], TARGET + each["name"], measured, found, states.get(each["name"], "not tested"))
        for each in sizes
    ]
    known = [row["name"] for row in rows if row["state"] == "still known"]
    return {
        "columns": [wording.measure(name).title for name in measured],
        "rows": rows[: OPEN + 1],
        "folded": rows[OPEN + 1 :],
        "known": known,
        "count": len(sizes),
    }


def _row(
    name: str, split: str, measured: list[str], found: dict[tuple[str, str, Any], Score], state: str | None
) -> dict[str, Any]:
    cells = []
    for measure in measured:
        before, after = found.get((measure, split, "base")), found.get((measure, split, "unlearned"))
        shown = before or after
        both = [None if score is None else score_text(score) for score in (before, after)]
        cells.append(None if shown is None else {"before": both[0], "after": both[1], "n": shown.n})
    return {"name": name, "state": state, "cells": cells}
