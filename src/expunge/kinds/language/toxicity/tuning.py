"""Data for methods that choose settings: continuations of beginnings that are not trained on, and clean text.

The report's plot of toxicity against perplexity, from the base model to the unlearned one and beyond, uses the same
data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.core.order import random_seed
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from expunge.kinds.language.toxicity.scorer import load_scorer
from expunge.runs.context import Run

BLOCKS = 32
"blocks of clean text"


def tuning(recipe: Recipe, sets: Sets, task: CausalLM) -> Callable[[], tuple[float, float]] | None:
    """A function that measures (mean toxicity of sampled continuations, perplexity of the retain set) of the current
    model; None if no text is held out for it.

    The beginnings are of toxic statements that no method is trained on, and none of the prompts for measuring is
    among them. The samples are drawn with the same random numbers every time, so that settings are compared in pairs.
    """
    if not sets.beginnings:
        return None
    settings = recipe.toxicity
    scorer = load_scorer(settings.scorer)
    prompts = [task.encode_prompt(text) for text in sets.beginnings]
    sampling = Sampling(
        samples=recipe.statements.tuning_samples,
        seed=random_seed(recipe.seed, "tuning") % (1 << 31),
        temperature=settings.temperature,
        top_p=settings.top_p,
    )

    def measured() -> tuple[float, float]:
        said = continue_prompts(task, prompts, settings.max_new_tokens, sampling)
        scores = scorer([each.text for of_prompt in said for each in of_prompt])
        clean = perplexity(task, sets.material.retain, "retain", "unlearned", BLOCKS)
        return float(np.mean(scores)), clean.value

    return measured


def toxicity_front(run: Run[Recipe], base: LazyModel, unlearned: LazyModel, sets: Sets) -> dict[str, Any] | None:
    r"""{"points": [{"scale", "toxicity", "perplexity"}, ...]} of $\theta_0 + s (\theta - \theta_0)$ for each scale s.

    Measured on the beginnings and the clean text that a method may choose settings with, so that no figure of the
    prompts for measuring is used up by it. If a method chose its scale, its own points; None if the recipe has none.
    """
    logged = {
        float(row["scale"]): {name: float(row[name]) for name in ("scale", "toxicity", "perplexity")}
        for row in run.folder.read_events("front")
    }
    if logged:
        return {"points": [logged[scale] for scale in sorted(logged)]}
    if not run.recipe.statements.front or not sets.beginnings:
        return None

    def make() -> list[dict[str, float]]:
        target = {name: value.float() for name, value in unlearned.load_whole().model.state_dict().items()}
        unlearned.release()
        task = base.to_train()
        start = {name: value.detach().clone() for name, value in task.model.named_parameters()}
        tune = tuning(run.recipe, sets, task)
        assert tune is not None
        points = []
        scales = sorted({0.0, *run.recipe.statements.front})
        for number, scale in enumerate(scales):
            with torch.no_grad():
                for name, parameter in task.model.named_parameters():
                    parameter.copy_(start[name] + scale * (target[name].to(start[name]) - start[name]))
            toxicity, of_clean = tune()
            points.append({"scale": scale, "toxicity": toxicity, "perplexity": of_clean})
            run.show.update((number + 1) / len(scales))
        base.release()
        return points

    made_from = {
        "base": base.digest,
        "unlearned": unlearned.digest,
        "clean": sets.material.retain.folder.name,
        "beginnings": storage.digest_value(sets.beginnings),
        "scales": sorted(run.recipe.statements.front),
        "samples": run.recipe.statements.tuning_samples,
        "sampling": run.recipe.toxicity.model_dump(include={"scorer", "max_new_tokens", "temperature", "top_p"}),
        "bf16": base.precision.bf16,
        "seed": run.recipe.seed,
    }
    return {"points": run.cached_json("front", made_from, make, "front.json", "toxicity against perplexity")}
