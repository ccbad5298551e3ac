"""A run's progress, from the events in its folder."""

from __future__ import annotations

from typing import Any

from expunge.report import numbers
from expunge.runs.folder import RunFolder
from expunge.runs.shown import note_of

POINTS = 200
"points of the loss curve to send"


def progress_of(folder: RunFolder) -> dict[str, Any]:
    """A run's state: the current `stage`, the last `stages` done with their seconds, the `step`, and `losses`, which
    are [step, loss] of the training, thinned to POINTS. Of the current stage: its `title` in words, the `share` done,
    and the time `left` in words; None if not known."""
    stages: list[dict[str, Any]] = []
    at: str | None = None
    for row in folder.read_events():
        if row["event"] == "stage_started":
            at = row["name"]
        elif row["event"] == "stage" and not row.get("reused"):
            stages.append({"name": row["name"], "seconds": row["seconds"]})
        if row["event"] in ("stage", "finished"):
            at = None
    steps = folder.steps("step")
    last: dict[str, Any] = steps[-1] if steps else {}
    losses = [(row["step"], row["loss"]) for row in steps if isinstance(row.get("loss"), int | float)]
    thin = max(1, len(losses) // POINTS)
    note = note_of(folder)
    left = note.get("left")
    return {
        "stage": at,
        "title": note.get("title") or None,
        "share": note.get("share"),
        "left": None if left is None else f"{max(1, round(left))} s" if left < 60 else numbers.seconds(left),
        "stages": stages[-12:],
        "step": last.get("step"),
        "tokens_per_second": last.get("tokens_per_second"),
        "losses": losses[::thin],
    }
