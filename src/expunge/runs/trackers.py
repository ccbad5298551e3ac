"""Experiment trackers (TensorBoard, Weights & Biases, MLflow, trackio, ...), by Accelerate, besides `events.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from expunge.errors import RunError, did_you_mean
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import BaseRecipe

PROJECT = "expunge"
FOLDER = "trackers"
"in the run folder: what trackers write that write files"


@contextmanager
def tracked(folder: RunFolder, recipe: BaseRecipe, names: Sequence[str]) -> Iterator[None]:
    """Send the figures of every training step, and at the end all scores, to trackers.

    Args:
        names: those of Accelerate's `log_with`, after `check_trackers`.
    """
    if not names:
        yield
        return
    trackers = _made(folder, names)
    for tracker in trackers:
        tracker.store_init_configuration(_flat(recipe.model_dump(mode="json")))

    def send(event: str, values: dict[str, Any]) -> None:
        stem = event.removesuffix("step").rstrip("_")
        if event.endswith("step") and "step" in values:
            figures = {
                f"{stem or 'training'}/{name}": float(value)
                for name, value in values.items()
                if name != "step" and isinstance(value, int | float)
            }
            for tracker in trackers:
                tracker.log(figures, step=values["step"])

    folder.listeners.append(send)
    try:
        yield
        scores = {f"{each.measure}/{each.split}/{each.model}": each.value for each in folder.read_scores()}
        for tracker in trackers:
            tracker.log(scores)
    finally:
        folder.listeners.remove(send)
        for tracker in trackers:
            tracker.finish()


def check_trackers(names: Sequence[str]) -> None:
    """See that there are such trackers, before anything else is done.

    Raises:
        RunError: there is none of this name, or its package is not installed.
    """
    if not names:
        return
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    able = [str(getattr(each, "value", each)) for each in get_available_trackers()]
    for name in names:
        if name not in LOGGER_TYPE_TO_CLASS:
            raise RunError(
                f"there is no tracker {name!r}",
                allowed=", ".join(LOGGER_TYPE_TO_CLASS),
                next_step=did_you_mean(name, LOGGER_TYPE_TO_CLASS),
            )
        if name not in able:
            raise RunError(
                f"the tracker {name} is not installed", next_step=f"pip install {name} and run the same command again"
            )


def _made(folder: RunFolder, names: Sequence[str]) -> list[Any]:
    from accelerate import Accelerator

    accelerator = Accelerator(log_with=list(names), project_dir=str(folder.path / FOLDER))
    accelerator.init_trackers(PROJECT)
    found: list[Any] = accelerator.trackers
    return found


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested fields by dotted name; what is neither number nor text, as text."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = value if isinstance(value, bool | int | float | str) else str(value)
    return found
