"""Experiment trackers (TensorBoard, Weights & Biases, MLflow, trackio, ...), by Accelerate, besides `events.jsonl`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from expunge.errors import RunError, did_you_mean, first_line
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

    sent = 0

    def send(event: str, values: dict[str, Any]) -> None:
        nonlocal sent
        if not event.endswith("step") or "step" not in values:
            return
        name = str(values.get("phase") or event.removesuffix("step").rstrip("_") or "training")
        figures = {f"{name}/{key}": float(value) for key, value in values.items() if isinstance(value, int | float)}
        sent += 1  # phases count from 1, and a tracker may pass over steps that come down
        for tracker in trackers:
            with _noted(folder, tracker):
                tracker.log(figures, step=sent)

    folder.listeners.append(send)
    try:
        yield
        scores = {f"{each.measure}/{each.split}/{each.model}": each.value for each in folder.read_scores()}
        for tracker in trackers:
            with _noted(folder, tracker):
                tracker.log(scores, step=sent)
    finally:
        folder.listeners.remove(send)
        for tracker in trackers:
            with _noted(folder, tracker):
                tracker.finish()


@contextmanager
def _noted(folder: RunFolder, tracker: Any) -> Iterator[None]:
    """A tracker that cannot be reached ends no run: it is logged."""
    try:
        yield
    except Exception as error:
        folder.log("tracker_failed", tracker=tracker.name, error=first_line(error))


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
