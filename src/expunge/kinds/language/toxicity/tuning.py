"""What a method may choose its settings by: continuations of beginnings that are not trained on, and clean text."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from expunge.core.order import random_seed
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.measures.perplexity import perplexity
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.task import CausalLM, Sampling
from expunge.kinds.language.toxicity.scorer import load_scorer

BLOCKS = 32
"blocks of clean text"


def tuning(recipe: Recipe, sets: Sets, task: CausalLM) -> Callable[[], tuple[float, float]] | None:
    """A function that measures (mean toxicity of sampled continuations, perplexity of the retain set) of the model as it
    is; None if nothing is held out to choose by.

    The beginnings are of toxic statements that no method is trained on, and no prompt that the run is measured with is
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
