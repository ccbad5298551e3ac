"""A trial of a sweep: an ordinary run, and its position afterwards. Results that trials have in common are shared."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from expunge import spine
from expunge.core import storage
from expunge.core.progress import Silent
from expunge.errors import (
    DataError,
    DivergedError,
    Explained,
    ExpungeError,
    ModelError,
    RecipeError,
    RunError,
    UnchangedError,
    first_line,
)
from expunge.report.contents import read_contents
from expunge.report.front import point
from expunge.report.scores_table import rows
from expunge.runs.folder import RunFolder
from expunge.sweep.axes import Space
from expunge.sweep.study import TrialResult

TRIALS = "trials"
OF_ONE_TRIAL = "unlearned"
"in the name of a result that depends on the unlearned model: of no use to other trials"
NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS)
"how a file system says that it makes no hard links"


@dataclass(frozen=True, slots=True)
class Trial:
    """A run to make.

    Attributes:
        number: of the trial. values: of the fields that are varied.
        folder: of the sweep.
        typed_in: the folder that relative paths of the recipe are relative to.
    """

    number: int
    values: dict[str, Any]
    space: Space
    folder: str
    typed_in: str

    @property
    def path(self) -> Path:
        return Path(self.folder) / TRIALS / f"{self.number:03d}"

    def __hash__(self) -> int:
        return hash((self.folder, self.number))


def run_trial(trial: Trial, show: Silent | None = None) -> TrialResult:
    """Run or resume a trial; return its position, or why it failed.

    A trial fails if its settings do: they do not fit the data or the model, training diverged or changed nothing, or
    memory ran out.

    Raises:
        ExpungeError: problems that other settings would not solve: a full disk, a folder of another run; in the first
            trial also data or a model that cannot be read.
    """
    folder = RunFolder(trial.path)
    try:
        with contextlib.chdir(trial.typed_in):  # workers of a cluster begin elsewhere
            spine.run(trial.space.recipe(trial.values), folder.path, show)
        return standing(trial.number, trial.values, folder)
    except (DivergedError, UnchangedError, RecipeError) as error:
        return TrialResult(trial.number, trial.values, failed=reason(error))
    except (DataError, ModelError) as error:
        if trial.number == 0:
            raise
        return TrialResult(trial.number, trial.values, failed=reason(error))
    except RunError as error:
        if not isinstance(error.__cause__, MemoryError | RuntimeError):  # as `core.memory.out_of_memory` explains them
            raise
        return TrialResult(trial.number, trial.values, failed=reason(error))
    except (ExpungeError, OSError):
        raise
    except Exception as error:
        folder.log("trial_failed", traceback=traceback.format_exc())
        return TrialResult(trial.number, trial.values, failed=f"{type(error).__name__}: {first_line(error)}")


def reason(error: Explained) -> str:
    return error.what if error.seen is None else f"{error.what} (seen: {error.seen})"


def standing(number: int, values: Mapping[str, Any], folder: RunFolder) -> TrialResult:
    """The position of a finished run in forgetting and damage, on the axes of `expunge compare`."""
    run = read_contents(folder)
    found = point(run.scores)
    if found is None:
        if number == 0:  # the others measure the same of the same base model
            raise RunError(
                f"{folder.path} measures nothing that settings could be chosen by",
                seen=", ".join(sorted({f"{row.measure} on {row.split}" for row in rows(run.scores)})) or "no scores",
                allowed="a measure of forgetting that is above zero for the base model, and a measure of the retain set",
                next_step="look at the recipe's evaluation; expunge report of that run lists what was measured",
            )
        return TrialResult(
            number, dict(values), failed="no measure of forgetting and of utility was taken before and after"
        )
    after = {row.label: row.by_model["unlearned"] for row in rows(run.scores) if "unlearned" in row.by_model}

    def score(label: str) -> dict[str, Any]:
        one = after[label]
        return {name: getattr(one, name) for name in ("measure", "split", "value", "low", "high", "n", "unit")}

    return TrialResult(
        number,
        dict(values),
        left=found.left,
        damage=found.damage,
        left_by=found.left_by,
        damage_by=found.damage_by,
        left_score=score(found.left_by),
        damage_score=score(found.damage_by),
        passed=(run.part("verdict") or {}).get("passed"),
        seconds=(run.part("cost") or {}).get("seconds_total"),
    )


def give(pool: Path, trial: Trial) -> None:
    """Lay the results that the trials share into a trial's folder: the base model's scores, signals, a retrained model.

    Each has a key of all its inputs, so a trial with other settings ignores those of others.
    """
    share(pool, trial.path / "stages")


def take(trial: Trial, pool: Path) -> None:
    """Share a trial's results, except those that depend on its own model."""
    share(trial.path / "stages", pool)


def share(source: Path, target: Path) -> None:
    """Put whole results of one folder into another, as hard links if the file system has them."""
    for result in sorted(source.iterdir()) if source.is_dir() else ():
        if (
            (result / "stage.json").is_file()
            and OF_ONE_TRIAL not in result.name
            and not (target / result.name).exists()
        ):
            with storage.folder_aside(target / result.name) as aside:
                shutil.copytree(result, aside, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        shutil.copy2(source, target)
