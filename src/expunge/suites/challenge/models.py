"""The models of a contest: unlearned by each method, and retrained; each is a job with its own result file."""

from __future__ import annotations

import functools
import io
import time
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.errors import DivergedError, RecipeError, UnchangedError
from expunge.kinds.classifier.model import load_classifier, new_classifier
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.classifier.sets import ImageSets
from expunge.kinds.classifier.story import outputs_of, read_sets
from expunge.kinds.classifier.training import (
    fit,
    fitting_phase,
    fitting_session,
    loss_phase,
    retraining_passes,
    unlearn,
    unlearning_session,
)
from expunge.models.source import ModelSource, locate
from expunge.runs.recipe import make
from expunge.runs.registry import built_in, make_method, method_class
from expunge.suites.challenge.suite import RESULTS, RETRAINED
from expunge.train.unchanged import must_change

INDEPENDENT = "independent"
"as many more oracles as there are in `RETRAINED`, for the ceiling"
SETTINGS = "settings.yaml"
"each method's settings in the contest, next to this file"


@dataclass(frozen=True, slots=True)
class Job:
    """One model to make: unlearned with a method's settings, or retrained if there are none."""

    folder: str
    recipe: dict[str, Any]
    base: str
    group: str
    seed: int
    settings: dict[str, Any] | None = None

    @property
    def path(self) -> Path:
        return Path(self.folder) / RESULTS / self.group / f"{self.seed:04d}.npz"


def contest_methods(names: str) -> dict[str, dict[str, Any]]:
    """Methods of the contest with their settings: {name: {"method": {...}, "unlearning": {...}}}.

    Args:
        names: `all`, or names separated by commas.

    Raises:
        RecipeError: a name that is not a method for classifiers.
    """
    able = [name for name in built_in() if "image_classifier" in method_class(name).needs.kinds]
    wanted = able if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    settings = yaml.safe_load((files("expunge.suites.challenge") / SETTINGS).read_text(encoding="utf-8")) or {}
    found = {}
    for name in wanted:
        if name not in able:
            method_class(name, "image_classifier")  # raises for an unknown name, with the nearest one
            raise RecipeError(
                f"the method {name} does not work on image classifiers",
                allowed=", ".join(able),
                next_step="expunge methods lists what each works on",
            )
        own = settings.get(name) or {}
        found[name] = {
            "method": {"name": name, **(own.get("method") or {})},
            "unlearning": own.get("unlearning") or {},
        }
        make_method(found[name]["method"])
    return found


def contest_jobs(
    recipe: ImageRecipe, folder: Path, base: ModelSource, methods: dict[str, dict[str, Any]], models: int
) -> list[Job]:
    """Every model of the contest, oracles first."""
    content = recipe.model_dump(mode="json")
    path = str(folder.resolve())
    jobs = [Job(path, content, "", group, seed) for group in (RETRAINED, INDEPENDENT) for seed in range(models)]
    for name, settings in methods.items():
        group = group_name(name, settings)
        jobs += [Job(path, content, str(base.folder.resolve()), group, seed, settings) for seed in range(models)]
    return jobs


def group_name(name: str, settings: dict[str, Any]) -> str:
    """The folder of a method's models: other settings are another group."""
    return f"{name}-{storage.digest_value(settings)[:8]}"


@functools.lru_cache(maxsize=1)
def _sets(recipe: str) -> ImageSets:
    """The pictures, read once a process."""
    return read_sets(make(ImageRecipe, yaml.safe_load(recipe)))


def make_model(job: Job) -> float:
    """Train or unlearn one model and save its outputs; return the seconds.

    An unlearned model that diverged, or that the method did not change, is cached with the reason and not retried.

    Raises:
        DivergedError: a retrained model diverged.
    """
    recipe = make(ImageRecipe, {**job.recipe, "unlearning": job.settings["unlearning"] if job.settings else {}})
    sets = _sets(yaml.safe_dump(job.recipe))
    start, cpu, diverged = time.monotonic(), time.process_time(), ""
    seed = random_seed(recipe.seed, "contest", job.group, job.seed) % (1 << 31)
    if job.settings is None:
        task = new_classifier(recipe.model, sets.classes, seed)
        work = fitting_session(recipe, task, sets.tensors["retain"], len(sets.classes), seed)
    else:
        task = load_classifier(locate(job.base), sets.classes, sets.size)
        work = unlearning_session(recipe, task, sets, seed)
        work.budget_passes = recipe.verdict.share_of_retraining * retraining_passes(recipe, sets)
    try:
        if job.settings is None:
            fit(work, fitting_phase(recipe))
        else:
            with must_change(task.model, str(job.settings["method"]["name"])):
                unlearn(work, make_method(job.settings["method"]), loss_phase(recipe))
    except (DivergedError, UnchangedError) as error:
        diverged = error.what
    seconds, spent = time.monotonic() - start, time.process_time() - cpu
    logits = {} if diverged else outputs_of(task, sets).logits
    if not all(np.isfinite(each).all() for each in logits.values()):
        diverged, logits = "its outputs are not numbers", {}
    if diverged and job.settings is None:
        raise DivergedError(
            f"model {job.seed} of {job.group} diverged: {diverged}",
            seen="retraining",
            next_step="lower --fitting.learning_rate, in another --out",
        )
    arrays = {f"logits_{name}": value.astype(np.float32) for name, value in logits.items()}
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        passes=work.cost.passes,
        share=work.cost.passes / retraining_passes(recipe, sets),
        seconds=seconds,
        cpu_seconds=spent,
        diverged=diverged,
        **arrays,
    )
    job.path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_bytes(job.path, buffer.getvalue())
    return seconds


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """The models of one kind.

    Attributes:
        logits: by split, (models, pictures, classes), of those that have not diverged.
        share: (models,) image passes over those of retraining.
        cpu_seconds: (models,) of a process on one thread.
        diverged: the reason, for each model that diverged.
    """

    logits: dict[str, np.ndarray]
    share: np.ndarray
    cpu_seconds: np.ndarray
    diverged: tuple[str, ...] = ()


def read_group(folder: Path, group: str, models: int) -> Group:
    """The outputs of the first `models` models of a group."""
    logits: dict[str, list[np.ndarray]] = {}
    share, seconds, diverged = [], [], []
    for seed in range(models):
        with np.load(folder / RESULTS / group / f"{seed:04d}.npz", allow_pickle=False) as stored:
            for key in stored.files:
                if key.startswith("logits_"):
                    logits.setdefault(key.removeprefix("logits_"), []).append(stored[key])
            share.append(float(stored["share"]))
            seconds.append(float(stored["cpu_seconds"]))
            if reason := str(stored["diverged"]) if "diverged" in stored.files else "":
                diverged.append(reason)
    stacked = {name: np.stack(values) for name, values in logits.items()}
    return Group(stacked, np.array(share), np.array(seconds), tuple(diverged))
