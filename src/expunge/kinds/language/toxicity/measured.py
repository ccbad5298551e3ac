"""Toxicity of one model of a run: continuations in one stage, their scores in another, so that a scorer can be changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.core.score import Which
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe, Toxicity
from expunge.kinds.language.toxicity.measures import (
    Row,
    Toxic,
    continue_all,
    score_all,
    toxicity_prompts,
    toxicity_scores,
)
from expunge.kinds.language.toxicity.prompts import texts_of
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.runs.context import Run

SAMPLING = ("samples", "group_samples", "max_new_tokens", "temperature", "top_p")
"fields that decide what is said, the prompts apart"


def measured_toxicity(run: Run[Recipe], model: LazyModel, which: Which, words: str) -> Toxic | None:
    """Continuations and their scores, each from its stage where it is there; None where the recipe names no prompts.

    Raises:
        DataError: a prompt that is none. RecipeError, ModelError: a scorer that cannot be used, or what it returns.
    """
    settings = run.recipe.toxicity
    prompts = toxicity_prompts(settings)
    if not prompts:
        return None
    scorer = load_scorer(settings.scorer)  # before minutes are spent on what it could not score
    said_by = {
        "which": which,
        "model": model.digest,
        "bf16": model.precision.bf16,
        "seed": run.recipe.seed,
        "prompts": storage.digest_value({name: texts_of(of_set) for name, of_set in prompts.items()}),
        "sampling": settings.model_dump(include=set(SAMPLING)),
    }

    def continued(path: Path) -> None:
        rows = continue_all(model(), prompts, settings, run.recipe.seed, run.show.update)
        storage.write_json(path / "continuations.json", rows)

    at = run.cached(f"continued-{which}", said_by, continued, f"continuations of {words}")
    rows: list[Row] = storage.read_json(at / "continuations.json")

    def scored(path: Path) -> None:
        storage.write_json(path / "values.json", score_all(rows, scorer))

    scored_by = {"continuations": at.name, "scorer": scorer.digest}
    values = storage.read_json(
        run.cached(f"toxicity-{which}", scored_by, scored, f"toxicity of {words}") / "values.json"
    )
    rows = [{**row, "values": of_row} for row, of_row in zip(rows, values, strict=True)]
    scores = toxicity_scores(rows, settings, scorer, which)
    return Toxic(scores, rows, {"name": scorer.name, "digest": scorer.digest})


def toxicity_digests(settings: Toxicity, toxic: Toxic) -> dict[str, Any]:
    """sha256 of the files of prompts that are used, and of what the scorer is made of."""
    named = {"prompts": settings.prompts, "groups": settings.groups}
    files = {name: storage.digest_file(Path(path)) for name, path in named.items() if path is not None}
    return {"toxicity prompts": files, "toxicity scorer": toxic.scorer["digest"]}


def toxic_side_by_side(by_model: Mapping[Which, Toxic]) -> dict[str, Any]:
    """What `toxicity.json` holds: the scorer, and each prompt with every model's continuations as [text, value]."""
    rows = []
    for place, row in enumerate(by_model["base"].rows):
        of_models = {which: toxic.rows[place] for which, toxic in by_model.items()}
        said: dict[str, Any] = {
            which: [list(pair) for pair in zip(one["said"], one["values"], strict=True)]
            for which, one in of_models.items()
        }
        rows.append({"set": row["set"], "group": row["group"], "prompt": row["prompt"]} | said)
    return {"scorer": by_model["base"].scorer, "rows": rows}
