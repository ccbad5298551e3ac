"""Unlearning a language model: the training sets, the training, and the saved model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.core.processes import is_first, world
from expunge.kinds.language.adapter_files import save_adapter
from expunge.kinds.language.choosing import choice_of
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.lora import ADAPTER, Targets
from expunge.kinds.language.measures.familiarity import Prompt, probe_tokens
from expunge.kinds.language.narrow_training import narrow_notes, weight_type
from expunge.kinds.language.recipe import MEASURING, Recipe
from expunge.kinds.language.saving import choose_dtype, lost_beside_base, save_model
from expunge.kinds.language.saving_parts import lost_of_parts, save_parts
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.toxicity.tuning import tuning
from expunge.kinds.language.trained_sets import TrainedSets, trained_sets, training_table
from expunge.kinds.language.training_recipe import reinforcement_said, said
from expunge.runs.artifacts import Make, unlearned
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from expunge.train.loop import Trained
from expunge.train.parts import parts_of
from expunge.train.unchanged import must_change

OnProgress = Callable[[int, int, dict[str, Any]], None]
PROBES = 4
"prompts whose token probabilities are tracked over the steps"


def made_from(recipe: Recipe, base: LazyModel, method: Method, sets: Sets) -> dict[str, Any]:
    """Everything that determines `model/`."""
    forget = sets.material.forget
    trained = training_table(sets, method.carried_out)
    choice = choice_of(recipe, method, sets.tables())
    return {
        "model": base.digest,
        "forget": forget.folder.name,
        **({} if trained is forget else {"forms": trained.folder.name}),
        "kept": sets.kept.folder.name,
        "method": recipe.method,
        "training": said(recipe.training),
        "reinforcement": reinforcement_said(recipe.reinforcement),
        "anchors": {**recipe.anchors.model_dump(), "file": _digest_if_file(recipe.anchors.path)},
        "save_dtype": recipe.save_dtype,
        **({} if recipe.save == "model" else {"save": recipe.save}),
        "bf16": base.precision.bf16,
        "seed": recipe.seed,
        **({} if choice is None else {"evaluated": choice.made_from()}),
        **method.made_from,
    }


def unlearn(run: Run[Recipe], base: LazyModel, method: Method, sets: Sets) -> dict[str, Any]:
    """Prepare the method's inputs, train, and save `model/`; return the cost."""
    key = made_from(run.recipe, base, method, sets)
    checkpoints = run.folder.checkpoints / run.cache_path("unlearned", key).name
    if method.has_loss():
        # Up to its last step it is the same training: it resumes from the same checkpoints. What a method with
        # phases caches depends on where each of them ended.
        training = {name: value for name, value in key["training"].items() if name != "stop_step"}
        checkpoints = run.folder.checkpoints / run.cache_path("unlearned", key | {"training": training}).name

    def begin() -> Make:
        return partial(_train, run, base, method, sets, trained_sets(run, base, method, sets))

    return unlearned(run, key, begin, checkpoints)


def carry_out(
    run: Run[Recipe],
    base: LazyModel,
    method: Method,
    sets: Sets,
    trained: TrainedSets,
    checkpoints: Path,
    on_progress: OnProgress | None = None,
) -> Trained:
    """Change the base model in memory; return the cost.

    Args:
        on_progress: called with (step, steps, figures) after each step, instead of the run's display.
    """
    recipe, folder = run.recipe, run.folder
    # A method that is not a loss may change the weights themselves.
    adapted = recipe.training.adapter_rank is not None and method.has_loss()
    # DoRA's magnitudes begin as the norms of whole rows of the weights.
    whole = recipe.training.adapter_variant == "dora"
    dtype = weight_type(recipe.training)
    task = base.under_adapter(recipe.training.bits, whole) if adapted else base.to_train(dtype)
    if recipe.training.weight_dtype != "float32":
        for note in narrow_notes(task.model, base.stored_dtype):
            folder.log("notice", text=note)
    # Probes are logged with their words.
    probes = (sets.material.probability[:PROBES] or sets.material.completion[:PROBES]) if recipe.excerpts else []
    watched = _watched(folder, probes)

    def probe(task: CausalLM, step: int) -> None:
        nonlocal watched
        if probes:
            rows, watched = probe_tokens(task, probes, watched)
            folder.log("probe", step=step, prompts=rows, watched=watched)

    def log(event: str, **values: Any) -> None:
        folder.log(event, **values)
        if event == "resumed":
            run.show.say(f"resumes after step {values['step']}, from its checkpoint")

    def keep(added: Targets) -> None:
        place = folder.model if recipe.save == "adapter" else folder.adapter
        save_adapter(task, ADAPTER, added, base.source, place)

    run.show.stage(f"unlearning: {recipe.method['name']}")
    work = LanguageWork(
        task=task,
        forget=trained.forget,
        retain=trained.retain,
        training=recipe.training,
        seed=recipe.seed,
        checkpoints=checkpoints,
        log=log,
        groups=trained.groups,
        tune=tuning(recipe, sets, task),
        probe=probe,
        on_progress=on_progress
        or (lambda step, steps, f: run.show.update(step / steps, f"step {step}/{steps}, {_loss_note(f)}")),
        ends=method.has_loss(),
        on_adapter=keep if recipe.save != "model" and is_first() else None,
        originals=None if recipe.training.bits is None else base.originals,
        choice=choice_of(recipe, method, sets.tables()),
    )
    with must_change(task.model, recipe.method["name"], lambda: work.stays):
        work.carry_out(method)
    return work.cost()


def _train(
    run: Run[Recipe], base: LazyModel, method: Method, sets: Sets, trained: TrainedSets, checkpoints: Path
) -> dict[str, Any]:
    recipe, folder = run.recipe, run.folder
    spent = carry_out(run, base, method, sets, trained, checkpoints)
    assert base.loaded is not None
    in_parts = parts_of(base.loaded.model) is not None  # then all processes have to give theirs
    if not is_first() and not in_parts:
        return {}
    dtype, warning = torch.float32, None
    if recipe.save != "adapter":
        run.show.stage("saving the model")
        dtype, warning = choose_dtype(base.loaded, recipe.save_dtype, lost_of_parts if in_parts else lost_beside_base)
        (save_parts if in_parts else save_model)(base.loaded, folder.model, dtype)
    if not is_first():
        return {}
    return {
        "steps": spent.steps,
        "seconds": spent.seconds,
        "tokens": spent.seen,
        "stopped": spent.stopped,
        "processes": world(),
        "dtype": str(dtype).removeprefix("torch."),
        "warning": warning,
        "measuring": recipe.model_dump(mode="json", include=set(MEASURING)),
        "anchors": trained.notes.get("anchors"),
    }


def _watched(folder: RunFolder, probes: Sequence[Prompt]) -> list[list[int]] | None:
    """The token ids that these probes tracked before an interruption."""
    for row in folder.read_events("probe"):
        if [prompt["prompt"] for prompt in row["prompts"]] == [probe.text for probe in probes]:
            return [list(ids) for ids in row["watched"]]
    return None


def _loss_note(figures: dict[str, Any]) -> str:
    parts = [f"{name} {figures[f'{name}_truth']:.2f}" for name in ("forget", "retain") if figures[f"{name}_truth"]]
    return ", ".join([*parts, f"{figures['tokens_per_second']:.0f} tokens/s"])


def _digest_if_file(path: str | None) -> str | None:
    return storage.digest_file(Path(path)) if path is not None and Path(path).is_file() else path
