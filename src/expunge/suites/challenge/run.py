"""The 2023 unlearning challenge on any pictures: many models unlearned by each method, and the same number retrained.

Source: Triantafillou et al. 2024 (arXiv:2406.09073) and the metric's description, which `measures.privacy.challenge`
computes.

The contest's folder holds `recipe.yaml`, `stages/` (the base model), `results/GROUP/SEED.npz` (one
finished model each: its outputs on forget, retain and test pictures), `contest.json` (the figures) and `report.html`. A
interrupted contest resumes with the missing ones; more models or methods may be added to it later.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.memory import peak_memory_bytes
from expunge.core.progress import Silent
from expunge.errors import RecipeError, RunError
from expunge.kinds.classifier.model import NEW
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.story import base_classifier, read_sets, resolve_paths
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.versions import versions
from expunge.suites.challenge.figures import contest_figures
from expunge.suites.challenge.jobs import require_ray, run_jobs
from expunge.suites.challenge.models import contest_jobs, make_model
from expunge.suites.challenge.report import render_contest
from expunge.suites.challenge.suite import FIGURES, RESULTS
from expunge.train.precision import found_device


def run_contest(
    recipe: ImageRecipe,
    out: str | Path,
    *,
    methods: dict[str, dict[str, Any]],
    models: int = 32,
    workers: int | None = None,
    ray: bool = False,
    show: Silent | None = None,
) -> dict[str, Any]:
    """Make every missing model, compute the figures, write `contest.json`, and return the figures.

    Args:
        methods: from `contest_methods`.
        models: of each kind: unlearned by each method, retrained, and retrained for the ceiling.
    """
    show, recipe = show or Silent(), resolve_paths(recipe)
    if recipe.model not in NEW:
        raise RecipeError(
            "a contest trains its models from scratch",
            seen=f"model: {recipe.model}",
            allowed="model: " + " or ".join(NEW),
        )
    if models < 2:
        raise RecipeError("a contest needs more than one model of a kind", seen=models, allowed="2 or more")
    if ray:
        require_ray()  # before a model is trained
    folder = RunFolder(out)
    try:
        with interruptible(f"run the same command again: it resumes in {folder.path}"), folder.held():
            show.stage("reading the pictures")
            sets = read_sets(recipe)
            folder.claim(recipe.model_dump(mode="json", exclude={"method", "unlearning", "verdict"}), recipe.to_yaml())
            hold_pictures(folder, sets)
            base = base_classifier(Run(recipe, folder, show), sets)
            jobs = contest_jobs(recipe, folder.path, base.source, methods, models)
            missing = [job for job in jobs if not job.path.is_file()]
            show.stage(f"{len(missing)} of {len(jobs)} models to make")
            made = run_jobs(make_model, missing, workers=processes(workers), ray=ray)
            for number, (job, seconds) in enumerate(made, 1):
                folder.log("model", group=job.group, seed=job.seed, seconds=seconds)
                show.update(number / len(missing), f"{job.group} {job.seed}")
            show.stage("computing the figures")
            figures = contest_figures(folder.path, sets, methods, models, recipe.verdict.share_of_retraining) | {
                "data": sets.sizes(),
                "notes": list(sets.notes),
                "forget_ids": list(sets.parts["forget"].ids),
                "versions": versions(),
                "peak_memory_bytes": peak_memory_bytes(),
            }
            storage.write_json(folder.path / FIGURES, figures)
            render_contest(folder)
    finally:
        show.close()
    return figures


def processes(wanted: int | None) -> int | None:
    """Number of processes: as wanted; one on a GPU, whose memory all would share; else None, one per core."""
    return 1 if wanted is None and found_device().type != "cpu" else wanted


def hold_pictures(folder: RunFolder, sets: ImageSets) -> None:
    """Note the pictures of the models, or check that they are those of the existing models.

    Raises:
        RunError: the data has changed since the contest began.
    """
    path, digests = folder.path / RESULTS / "sets.json", sets.digests()
    if path.is_file() and storage.read_json(path) != digests:
        raise RunError(
            f"{folder.path} has models of other pictures: the data has changed since",
            next_step="undo the change, or choose another --out",
        )
    path.parent.mkdir(exist_ok=True)
    storage.write_json(path, digests)
