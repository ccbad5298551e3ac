"""Find what can be deleted from a finished run's folder: files only for training, and leftovers of interruptions."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from expunge.core import storage
from expunge.errors import RunError
from expunge.runs.folder import LOCK, RunFolder
from expunge.runs.kinds import kinds_of, task_of
from expunge.runs.recipe import BaseRecipe

STAYS = {
    "model": "the unlearned model",
    "adapter": "the adapter that was merged into it",
    "stages": "sets, base models and scores: `expunge verify`, `evaluate` and `audit` read them",
    "audit": "what attacks brought back",
    "target": "the topic as text",
}
"parts that stay, and why; other files: record, scores, report and their inputs, and a user's own"


@dataclass(frozen=True, slots=True)
class Part:
    """A file or folder of a run: its size in bytes, and why it can be deleted, or stays."""

    path: Path
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Cleaning:
    """Deletable and kept parts of a run's folder."""

    goes: tuple[Part, ...]
    stays: tuple[Part, ...]


def plan_cleaning(folder: RunFolder, recipe: BaseRecipe) -> Cleaning:
    """Look through the folder of a finished run; nothing is deleted.

    Raises:
        RunError: the run is not finished, or was begun again since: then training files are needed to resume.
    """
    _refuse_unfinished(folder)
    reasons = {path: "what an interrupted command left" for path in _leftovers(folder)}
    for path in folder.stages.glob("*-so-far.json"):
        reasons[path] = "answers of a stage that has ended"
    for path in folder.checkpoints.iterdir() if folder.checkpoints.is_dir() else ():
        reasons[path] = "checkpoints of training that has ended"
    spare = {name for kind in kinds_of(task_of(recipe)) for name in kind.spare}
    for path in folder.stages.iterdir() if folder.stages.is_dir() else ():
        # A stage is called NAME-DIGEST: `labels-0123456789abcdef`, not `labels-of-another-0123456789abcdef`.
        if path.name.rpartition("-")[0] in spare and path.is_dir():
            reasons.setdefault(path, "only used in training; the same command would make it again")
    goes = tuple(Part(path, size(path), why) for path, why in sorted(reasons.items()) if not path.is_symlink())
    gone = {part.path for part in goes}
    kept = [path for path in sorted(folder.path.iterdir()) if path not in gone and path.name != LOCK]
    without = {path: size(path) - sum(part.bytes for part in goes if path in part.path.parents) for path in kept}
    stays = [Part(path, left, STAYS.get(path.name, "record, scores, report, or a file of your own"))
             for path, left in without.items() if path != folder.checkpoints]  # fmt: skip
    return Cleaning(goes, tuple(stays))


def clean(folder: RunFolder, cleaning: Cleaning) -> None:
    """Delete the deletable parts. Raises `RunError` if another process is at work in the folder."""
    with folder.locked():
        _refuse_unfinished(folder)
        for part in cleaning.goes:
            with storage.storage_errors(part.path):
                if part.path.is_dir():
                    shutil.rmtree(part.path)
                else:
                    part.path.unlink(missing_ok=True)


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; links count 0."""
    files = [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]
    return sum(file.lstat().st_size for file in files if file.is_file() and not file.is_symlink())


def _leftovers(folder: RunFolder) -> list[Path]:
    places = [folder.path, folder.stages, folder.model, folder.target]
    return [path for place in places if place.is_dir() for path in place.iterdir() if storage.is_leftover(path.name)]


def _refuse_unfinished(folder: RunFolder) -> None:
    last = None
    for row in folder.read_events():
        if row.get("event") in ("threads", "finished"):  # how a run begins, and how it ends
            last = row["event"]
    if last != "finished" or not folder.record.is_file() or not folder.model.is_dir():
        raise RunError(
            f"{folder.path} is not finished: these files are needed to resume it",
            next_step="run the command that started it again, to the end; or delete the folder",
        )
