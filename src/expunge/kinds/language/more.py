"""Further measures of a finished run: benchmarks, prompts, other ordinary text, toxicity."""

from __future__ import annotations

from collections.abc import Mapping

from expunge.core.settings import validate_part
from expunge.errors import RecipeError
from expunge.kinds.language.paths import refuse_missing_files, resolve_paths
from expunge.kinds.language.recipe import Evaluation, Recipe, Toxicity

OF_EVALUATION = ("benchmarks", "benchmark_rows", "prompts", "ordinary_text")
OF_TOXICITY = {"toxicity_prompts": "prompts", "toxicity_groups": "groups", "scorer": "scorer"}
"options -> fields of the recipe's part `toxicity`"


def with_more(recipe: Recipe, given: Mapping[str, str]) -> Recipe:
    """The recipe with more to measure, and its paths resolved.

    Raises:
        RecipeError: a scorer without prompts, rows of benchmarks without benchmarks, or none of them.
        DataError: benchmarks or prompts that do not exist.
    """
    asked = {name: given[name] for name in OF_EVALUATION if name in given}
    evaluation = validate_part(Evaluation, {**recipe.evaluation.model_dump(), **asked}, "evaluation")
    if "benchmark_rows" in given and evaluation.benchmarks is None:
        raise RecipeError("rows of benchmarks are given, but no benchmarks", next_step="give --benchmarks FOLDER too")
    toxicity = with_toxicity(recipe.toxicity, given)
    if "scorer" in given and toxicity.prompts is None and toxicity.groups is None:
        raise RecipeError(
            "a scorer scores continuations of toxicity prompts, and the run names none",
            seen=f"--scorer {given['scorer']}",
            next_step="give --toxicity-prompts FILE too",
        )
    refuse_missing_files(given.get("benchmarks"), given.get("prompts"))
    return resolve_paths(recipe.model_copy(update={"evaluation": evaluation, "toxicity": toxicity}))


def with_toxicity(part: Toxicity, given: Mapping[str, str]) -> Toxicity:
    """The settings with the given prompts, groups and scorer."""
    return part.model_copy(update={field: given[name] for name, field in OF_TOXICITY.items() if name in given})
