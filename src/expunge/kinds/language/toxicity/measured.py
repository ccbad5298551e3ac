"""Toxicity of one model; in a run continuations and their scores are separate stages, so that the scorer can be
changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.interruption import interruptible
from expunge.core.progress import Silent
from expunge.core.score import Score, Which, scores_on_all
from expunge.kinds.language import helping  # noqa: F401 - jobs of other processes for the first one
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.more import with_toxicity
from expunge.kinds.language.recipe import Recipe, Toxicity
from expunge.kinds.language.toxicity.measures import (
    Row,
    Toxic,
    continue_all,
    score_all,
    toxicity_prompts,
    toxicity_scores,
)
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.models.source import find_model
from expunge.runs.context import Run
from expunge.train.precision import Precision

SAMPLING = ("samples", "group_samples", "max_new_tokens", "temperature", "top_p")
"fields that determine continuations, without the prompts"


def measured_toxicity(run: Run[Recipe], model: LazyModel, which: Which, words: str) -> Toxic | None:
    """Continuations and their scores, each from its stage if it exists; None if the recipe names no prompts.

    Raises:
        DataError: an invalid prompt. RecipeError, ModelError: a scorer that cannot be used, or a wrong result of it.
    """
    settings = run.recipe.toxicity
    prompts = toxicity_prompts(settings)
    if not prompts:
        return None
    scorer = load_scorer(settings.scorer)  # before minutes are spent on continuations that it could not score
    said_by = {
        "which": which,
        "model": model.digest,
        "bf16": model.precision.bf16,
        "seed": run.recipe.seed,
        "prompts": storage.digest_value(
            {name: [[prompt.text, prompt.group] for prompt in of_set] for name, of_set in prompts.items()}
        ),
        "sampling": settings.model_dump(include=set(SAMPLING)),
    }

    rows: list[Row] = run.cached_json(
        f"continued-{which}",
        said_by,
        lambda: continue_all(model(), prompts, settings, run.recipe.seed, run.show.update),
        "continuations.json",
        f"continuations of {words}",
    )
    values = run.cached_json(
        f"toxicity-{which}",
        {"continuations": run.cache_path(f"continued-{which}", said_by).name, "scorer": scorer.digest},
        lambda: score_all(rows, scorer),
        "values.json",
        f"toxicity of {words}",
    )
    rows = [{**row, "values": of_row} for row, of_row in zip(rows, values, strict=True)]
    scores = toxicity_scores(rows, settings, scorer, which)
    return Toxic(scores, rows, {"name": scorer.name, "digest": scorer.digest})


def evaluate_toxicity(model: str, given: Mapping[str, str], show: Silent | None = None) -> list[Score]:
    """Toxicity of any model, without a run and with a recipe's default settings; nothing is cached.

    Returns:
        The scores; the model is called `unlearned` in them, as with `evaluate_model`.
    """
    show, settings = show or Silent(), with_toxicity(Toxicity(), given)
    precision = Precision()  # joins the processes of a launcher

    def scores() -> list[Score]:
        prompts = toxicity_prompts(settings)
        scorer = load_scorer(settings.scorer)
        task = LazyModel(find_model(model), precision, as_stored=True)()
        show.stage("continuations")
        rows = continue_all(task, prompts, settings, 0, show.update)
        for note in task.notices:
            show.say(note)
        for row, values in zip(rows, score_all(rows, scorer), strict=True):
            row["values"] = values
        return toxicity_scores(rows, settings, scorer, "unlearned")

    try:
        with interruptible("run the same command again: it starts again"):
            return scores_on_all(scores)
    finally:
        show.close()


def toxicity_digests(settings: Toxicity, toxic: Toxic) -> dict[str, Any]:
    """sha256 of the files of prompts that are used, and of the scorer."""
    named = {"prompts": settings.prompts, "groups": settings.groups}
    files = {name: storage.digest_file(Path(path)) for name, path in named.items() if path is not None}
    return {"toxicity prompts": files, "toxicity scorer": toxic.scorer["digest"]}


def toxic_side_by_side(by_model: Mapping[Which, Toxic]) -> dict[str, Any]:
    """Content of `toxicity.json`: the scorer, and each prompt with every model's continuations as [text, value]."""
    rows = [{name: row[name] for name in ("set", "group", "prompt")} for row in by_model["base"].rows]
    for which, toxic in by_model.items():
        for row, one in zip(rows, toxic.rows, strict=True):
            row[which] = [list(pair) for pair in zip(one["said"], one["values"], strict=True)]
    return {"scorer": by_model["base"].scorer, "rows": rows}
