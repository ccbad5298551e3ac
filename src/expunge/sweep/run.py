"""A sweep: many runs of one recipe with other settings, each an ordinary run, and which of them no other beats.

Its folder has `recipe.yaml` (the varied fields, and the recipe), `study.jsonl` (the result of each trial), `stages/`
(results that trials share), `trials/NUMBER/` (run folders), `best/` (recipes on the front), `sweep.json` and
`report.html`. A sweep that was interrupted continues with the missing trials; more trials may be added to it later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from expunge.core import processes, storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.errors import Interrupted, RecipeError
from expunge.report.front import on_front
from expunge.runs.folder import RunFolder
from expunge.runs.versions import versions
from expunge.suites.challenge.jobs import require_ray, run_jobs
from expunge.sweep.axes import Space
from expunge.sweep.report import SWEEP, points_of, render_sweep, setting
from expunge.sweep.study import Study, TrialResult, propose, require_optuna
from expunge.sweep.trials import TRIALS, Trial, give, run_trial, take

STUDY = "study.jsonl"
BEST = "best"
ON_RAY = 4
"trials at the same time on Ray, if no number is given"


def run_sweep(
    space: Space,
    out: str | Path,
    *,
    trials: int = 30,
    jobs: int | None = None,
    ray: bool = False,
    show: Silent | None = None,
) -> dict[str, Any]:
    """Run every missing trial, and write all results; return the content of `sweep.json`.

    Trials that run at the same time are chosen together, from the earlier results; the first one runs alone, and
    its results on the base model are shared with the others.

    Args:
        jobs: trials at the same time; default: 1, in this process with all its threads. Else each has one thread.

    Raises:
        ExpungeError: what ends any sweep: Optuna or Ray is missing, a full disk, data that cannot be read. What goes
            wrong with a trial's settings is noted, and the next trial begins.
    """
    show = show or Silent()
    if trials < 1 or (jobs is not None and jobs < 1):
        raise RecipeError("nothing is to be tried", seen=f"trials {trials}, jobs {jobs}", allowed="1 or more of each")
    processes.refuse_launcher("a sweep (with --jobs it starts its own processes) is begun by")
    require_optuna()
    if ray:
        require_ray()
    together = jobs or (ON_RAY if ray else 1)
    base, folder = space.recipe(), RunFolder(out)
    again = f"run the same command again: it resumes in {folder.path}"
    try:
        with interruptible(again), folder.held():
            settings = {"sweep": {axis.field: axis.said for axis in space.axes}, **base.model_dump(mode="json")}
            folder.claim(settings, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True))
            storage.remove_leftovers(folder.path, rf"{BEST}|sweep\.json")
            study = Study(folder.path / STUDY, space)
            for numbers in _batches(trials, together):
                before = [result for number, result in sorted(study.results.items()) if number < numbers[0]]
                chosen = propose(space, base.seed, numbers, trials, before)
                missing = [
                    Trial(number, values, space, str(folder.path.resolve()), os.getcwd())
                    for number, values in zip(numbers, chosen, strict=False)
                    if number not in study.results
                ]
                for trial in missing:
                    give(folder.stages, trial)
                for trial, result in _made(missing, together, ray, show, trials):
                    take(trial, folder.stages)
                    study.tell(result)
                    folder.log("trial", **result.row())
            found = _written(folder, space, [study.results[number] for number in sorted(study.results)])
    except Interrupted as error:  # of a trial: the sweep is to be run again
        raise Interrupted(error.what, next_step=again) from None
    finally:
        show.close()
    return found


def _batches(trials: int, together: int) -> Iterator[range]:
    """Numbers of the trials that are chosen together: the first alone, then this many at a time."""
    yield range(1)
    for start in range(1, trials, together):
        yield range(start, min(start + together, trials))


def _made(
    missing: Sequence[Trial], together: int, ray: bool, show: Silent, trials: int
) -> Iterator[tuple[Trial, TrialResult]]:
    if ray or (together > 1 and len(missing) > 1):
        for trial in missing:
            show.stage(_title(trial, trials))
        yield from run_jobs(run_trial, missing, workers=together, ray=ray, option="--jobs")
        return
    for trial in missing:
        show.stage(_title(trial, trials))
        yield trial, run_trial(trial, _Within(show))


def _title(trial: Trial, trials: int) -> str:
    values = ", ".join(f"{field.rpartition('.')[2]} {setting(trial.values, field)}" for field in trial.values)
    return f"trial {trial.number} of {trials}: {values}"


class _Within(Silent):
    """The display of a trial inside that of its sweep."""

    def __init__(self, show: Silent) -> None:
        self.show, self.title = show, ""

    def stage(self, title: str) -> None:
        self.title = title
        self.show.update(0.0, title)

    def update(self, share: float, note: str = "") -> None:
        self.show.update(share, f"{self.title} {note}".strip())


def _written(folder: RunFolder, space: Space, results: Sequence[TrialResult]) -> dict[str, Any]:
    """Write `sweep.json`, the recipes on the front, and the page; return the content of the first."""
    rows = [{"name": one.name, **one.row(), "run": f"{TRIALS}/{one.number:03d}"} for one in results]
    points = points_of(rows)
    best = {name: f"{BEST}/{name.replace(' ', '-')}.yaml" for name in on_front(points)}
    runs = {row["name"]: folder.path / str(row["run"]) for row in rows}
    with storage.folder_aside(folder.path / BEST) as aside:
        for name, path in best.items():
            said = (
                f"# {name} of a sweep: {points[name].left:.1%} left of the target, damage {points[name].damage:.1%}\n"
            )
            recipe = RunFolder(runs[name]).recipe.read_text(encoding="utf-8")
            (aside / Path(path).name).write_text(said + recipe, encoding="utf-8")
    found = {
        "sweep": str(folder.path),
        "over": {axis.field: axis.said for axis in space.axes},
        "trials": rows,
        "front": list(best),
        "best": best,
        "versions": versions() | {"optuna": version("optuna")},
    }
    storage.write_json(folder.path / SWEEP, found)
    render_sweep(folder)
    return found
