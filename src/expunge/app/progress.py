"""A run's progress, from the events in its folder."""

from __future__ import annotations

from typing import Any

from expunge.runs.folder import RunFolder

POINTS = 200
"points of the loss curve to send"


def progress_of(folder: RunFolder) -> dict[str, Any]:
    """A run's state: the current `stage`, the last `stages` done with their seconds, the `step`, and `losses`, which
    are [step, loss] of the training, thinned to POINTS."""
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
    return {
        "stage": at,
        "stages": stages[-12:],
        "step": last.get("step"),
        "tokens_per_second": last.get("tokens_per_second"),
        "losses": losses[::thin],
    }
