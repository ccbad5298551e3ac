"""Models that a run makes: trained from random weights, and unlearned; made once, and found again."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.processes import agreed, is_first
from expunge.core.progress import Silent
from expunge.errors import RunError
from expunge.models.digest import digest_saved
from expunge.models.source import ModelSource
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.versions import versions

Make = Callable[[Path], dict[str, Any]]
"saves `model/`, given a folder for checkpoints, and returns the cost"


@dataclass(frozen=True, slots=True)
class Artifact:
    """A model on disk, and the cost of its training, if it happened in this run."""

    source: ModelSource
    passes: int | None = None
    seconds: float | None = None


def fitted(run: Run[Any], name: str, key: dict[str, Any], make: Callable[[Path, Path], dict[str, Any]]) -> Artifact:
    """A model trained from random weights, by all processes, cached as `fitted-NAME`.

    Args:
        make: given the result's folder and one for checkpoints, saves the model to `model` in the first and returns
            the cost (`passes`, `seconds`). Of several processes the first one saves.
    """
    checkpoints = run.folder.checkpoints / f"{name}-{storage.digest_value(key)[:16]}"

    def fill(path: Path) -> None:
        spent = make(path, checkpoints)
        if is_first():
            storage.write_json(path / "fitted.json", spent)

    checkpoints.mkdir(parents=True, exist_ok=True)
    path = run.made_together(f"fitted-{name}", key, fill)
    if is_first():
        shutil.rmtree(checkpoints, ignore_errors=True)
    spent = storage.read_json(path / "fitted.json")
    return Artifact(ModelSource.of_folder(path / "model"), int(spent["passes"]), float(spent["seconds"]))


def unlearned(
    run: Run[Any], key: dict[str, Any], begin: Callable[[], Make], checkpoints: Path | None = None
) -> dict[str, Any]:
    """The unlearned model in `model/`, made again if it was lost or changed; returns its notes.

    Args:
        key: everything that determines the model.
        begin: called by all processes if the model has to be made; does the separately cached work, and returns the
            function that makes the model: given a folder for checkpoints, it saves `model/` and returns the cost.
        checkpoints: that folder, if it is not named after the key.
    """
    at = checkpoints or run.folder.checkpoints / f"unlearned-{storage.digest_value(key)[:16]}"
    done = run.cache_path("unlearned", key)
    make: Make | None = None
    there = (done / "stage.json").is_file() and _is_saved(run.folder, storage.read_json(done / "trained.json"))
    if not agreed(there):
        if is_first():
            # The marker of completion is deleted first: a crash in between leaves an unfinished result.
            (done / "stage.json").unlink(missing_ok=True)
            shutil.rmtree(done, ignore_errors=True)
        make = begin()

    def fill(path: Path) -> None:
        assert make is not None
        spent = make(at)
        noted = {"thresholds": run.recipe.verdict.model_dump(), "versions": versions()}
        storage.write_json(path / "trained.json", spent | {"files": digest_saved(run.folder.model)} | noted)

    at.mkdir(parents=True, exist_ok=True)
    if make is None or is_first():
        run.cached("unlearned", key, fill)
    else:
        make(at)
    agreed(None)  # now the others may read what the first one wrote
    trained = storage.read_json(done / "trained.json")
    if is_first():
        for finished in run.folder.checkpoints.iterdir():
            shutil.rmtree(finished, ignore_errors=True)
    return trained


def unlearned_model(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(the notes on the model in `model/`, its inputs); None if no run saved it so."""
    for path in folder.stages.glob("unlearned-*/stage.json"):
        trained = storage.read_json(path.parent / "trained.json")
        if _is_saved(folder, trained):
            return trained, storage.read_json(path)["made_from"]
    return None


def refuse_changed(
    folder: RunFolder, made_from: Mapping[str, Any], now: Mapping[str, Any], words: Mapping[str, str]
) -> None:
    """Raise unless the present inputs `now` are those that the run's model was made from.

    Args:
        words: names of its parts; others are fields of the recipe.
    """
    changed = [words.get(name, f"the recipe's {name}") for name in now if now[name] != made_from.get(name)]
    if changed:
        raise RunError(
            f"the model in {folder.path} was made from something else than there is now",
            seen=f"changed since: {', '.join(changed)}",
            next_step=f"run it again: expunge run {folder.recipe} --out {folder.path}; or undo the change",
        )


def _is_saved(folder: RunFolder, trained: Mapping[str, Any]) -> bool:
    return digest_saved(folder.model) == trained["files"]


def on_progress(show: Silent) -> Callable[[str, float, float], None]:
    """A callback (phase, share, loss) of a training that shows its progress."""
    return lambda phase, share, loss: show.update(share, f"{phase}, loss {loss:.3f}")
