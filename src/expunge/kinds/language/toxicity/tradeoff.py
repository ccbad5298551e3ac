"""Toxicity against perplexity: the model on the way from the base to the unlearned one, and beyond."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from expunge.core import storage
from expunge.kinds.language.inputs import Sets
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.toxicity.tuning import tuning
from expunge.runs.context import Run


def toxicity_front(run: Run[Recipe], base: LazyModel, unlearned: LazyModel, sets: Sets) -> dict[str, Any] | None:
    r"""{"points": [{"scale", "toxicity", "perplexity"}, ...]} of $\theta_0 + s (\theta - \theta_0)$ for each scale s.

    Measured on the beginnings and the clean text that a method may choose settings with, so that no figure of the prompts
    that the run is measured with is spent on it. Where a method chose its scale, its own points; None where the recipe
    asks for none.
    """
    logged = {
        float(row["scale"]): {name: float(row[name]) for name in ("scale", "toxicity", "perplexity")}
        for row in run.folder.read_events("front")
    }
    if logged:
        return {"points": [logged[scale] for scale in sorted(logged)]}
    if not run.recipe.statements.front or not sets.beginnings:
        return None

    def make(path: Path) -> None:
        target = {name: value.float() for name, value in unlearned().model.state_dict().items()}
        unlearned.release()
        task = base()
        start = {name: value.detach().clone() for name, value in task.model.named_parameters()}
        tune = tuning(run.recipe, sets, task)
        assert tune is not None
        points = []
        scales = sorted({0.0, *run.recipe.statements.front})
        for number, scale in enumerate(scales):
            with torch.no_grad():
                for name, parameter in task.model.named_parameters():
                    parameter.copy_(start[name] + scale * (target[name].to(start[name]) - start[name]))
            toxicity, perplexity = tune()
            points.append({"scale": scale, "toxicity": toxicity, "perplexity": perplexity})
            run.show.update((number + 1) / len(scales))
        base.release()
        storage.write_json(path / "front.json", points)

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
    return {
        "points": storage.read_json(run.cached("front", made_from, make, "toxicity against perplexity") / "front.json")
    }
