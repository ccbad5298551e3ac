"""Models that a run makes, as stages: trained from random weights, and unlearned; made once, and found again."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.models.source import ModelSource, digest_model, locate
from expunge.runs.folder import RunFolder
from expunge.runs.stage import stage


@dataclass(frozen=True, slots=True)
class Base:
    """The model that is to forget, on disk, and what training it cost where that happened here."""

    source: ModelSource
    passes: int | None = None
    seconds: float | None = None


def fitted_stage(
    folder: RunFolder, name: str, made_from: dict[str, Any], make: Callable[[Path, Path], dict[str, Any]]
) -> Base:
    """A model trained from random weights, as the stage `fitted-NAME`.

    Args:
        make: given the stage's folder and one for checkpoints, saves the model to `model` in the first and returns what
            it cost (`passes`, `seconds`).
    """
    checkpoints = folder.checkpoints / f"{name}-{storage.digest_value(made_from)[:16]}"

    def fill(path: Path) -> None:
        storage.write_json(path / "fitted.json", make(path, checkpoints))

    checkpoints.mkdir(parents=True, exist_ok=True)
    path = stage(folder, f"fitted-{name}", made_from, fill)
    shutil.rmtree(checkpoints, ignore_errors=True)
    spent = storage.read_json(path / "fitted.json")
    return Base(locate(str(path / "model")), int(spent["passes"]), float(spent["seconds"]))


def unlearned_stage(
    folder: RunFolder, made_from: dict[str, Any], make: Callable[[Path], dict[str, Any]], noted: dict[str, Any]
) -> dict[str, Any]:
    """The unlearned model in `model/`, made anew where it was lost or changed since; what is noted of it.

    Args:
        make: given a folder for checkpoints, saves `model/` and returns what it cost.
        noted: what else is noted beside.
    """
    checkpoints = folder.checkpoints / f"unlearned-{storage.digest_value(made_from)[:16]}"

    def fill(path: Path) -> None:
        spent = make(checkpoints)
        storage.write_json(path / "trained.json", spent | {"files": saved_files(folder)} | noted)

    checkpoints.mkdir(parents=True, exist_ok=True)
    path = stage(folder, "unlearned", made_from, fill)
    trained: dict[str, Any] = storage.read_json(path / "trained.json")
    if not folder.model.is_dir() or saved_files(folder) != trained["files"]:
        shutil.rmtree(path)  # the model was lost or changed since: make it again
        path = stage(folder, "unlearned", made_from, fill)
        trained = storage.read_json(path / "trained.json")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return trained


def trained_model(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(what is noted of the model that is in `model/` now, what it was made from); None where no run saved it so."""
    if folder.model.is_dir():
        files = saved_files(folder)
        for path in folder.stages.glob("unlearned-*/stage.json"):
            trained: dict[str, Any] = storage.read_json(path.parent / "trained.json")
            if trained["files"] == files:
                return trained, storage.read_json(path)["made_from"]
    return None


def saved_files(folder: RunFolder) -> dict[str, str]:
    """The unlearned model's files by digest, without its card."""
    return {name: digest for name, digest in digest_model(folder.model).items() if name != "README.md"}


def told(show: Silent) -> Callable[[str, float, float], None]:
    """What a training tells while it goes on, shown."""

    def tell(phase: str, share: float, loss: float) -> None:
        show.update(share, f"{phase}, loss {loss:.3f}")

    return tell
