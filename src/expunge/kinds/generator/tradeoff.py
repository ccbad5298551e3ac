"""The trade-off: retaining against forgetting, over values of the method's trade-off field; each value is a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RecipeError
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.feature_network import FeatureNetwork
from expunge.kinds.generator.judge_network import measured_part, seen
from expunge.kinds.generator.measures import image_quality as quality
from expunge.kinds.generator.measures.scores import Completions, Originals, recognised
from expunge.kinds.generator.model import load_generator
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import GeneratorWork, evaluation_keys
from expunge.kinds.generator.sets import GeneratorSets
from expunge.models.source import ModelSource
from expunge.runs.artifacts import on_progress
from expunge.runs.context import Run
from expunge.runs.registry import make_method, method_class

TRADEOFF_FIELDS = ("alpha", "epsilon", "strangeness")
"fields that trade retaining for forgetting; a method's trade-off field is the first of them that it has"
SPLITS = ("retain_test", "forget")


def tradeoff_field(recipe: GeneratorRecipe) -> str:
    """The field of the recipe's method that is varied.

    Raises:
        RecipeError: the method has none.
    """
    name = recipe.method["name"]
    fields = method_class(name).model_fields
    found = next((field for field in TRADEOFF_FIELDS if field in fields), None)
    if found is None:
        raise RecipeError(
            f"the method {name} has no field that trades retaining for forgetting, so there is no trade-off to plot",
            seen=f"evaluation.front: {list(recipe.evaluation.front)}",
            allowed="a method with one of the fields " + ", ".join(TRADEOFF_FIELDS),
            next_step="leave evaluation.front out",
        )
    return found


def front(
    run: Run[GeneratorRecipe],
    source: ModelSource,
    sets: GeneratorSets,
    corruption: Corruption,
    network: FeatureNetwork,
    digest: str,
    originals: dict[str, Originals],
) -> dict[str, Any] | None:
    """{"field", "points"}, a point for each value of `evaluation.front`: Fréchet distances, PSNR, identification.

    None where no values are asked for. The unlearned models of the points are not saved.
    """
    values = run.recipe.evaluation.front
    if not values:
        return None
    field = tradeoff_field(run.recipe)
    points = []
    for value in sorted(values):
        made_from = {
            "model": source.digest,
            "sets": sets.digests(),
            "corruption": [corruption.name, corruption.value, corruption.patch],
            "method": run.recipe.method | {field: value},
            "network": digest,
            "pictures": run.recipe.evaluation.pictures,
            "seed": run.recipe.seed,
        }

        def make(path: Path, value: float = value) -> None:
            task = load_generator(source, sets.size, corruption)
            work = GeneratorWork(
                task=task,
                retain=sets.tensors["retain"] if sets.stand_in is None else sets.stand_in,
                forget=sets.tensors["forget"],
                seed=run.recipe.seed,
                on_progress=on_progress(run.show),
            )
            make_method(run.recipe.method | {field: value}).apply(work)
            point: dict[str, float] = {}
            for split in SPLITS:
                pictures = measured_part(sets.tensors[split], run.recipe.evaluation.pictures)
                keys = evaluation_keys(run.recipe.seed, split, len(pictures))
                completed = task.completions(pictures, keys)
                said = seen(network, completed, corruption.hidden(keys, sets.size), corruption.patch)
                theirs = originals[split]
                if len(pictures) >= quality.FEWEST:
                    point[f"frechet-{split}"] = quality.frechet_distance(said.features, theirs.seen.features)
                point[f"psnr-{split}"] = float(quality.psnr(completed.numpy(), theirs.pictures).mean())
                if theirs.people is None:
                    right = recognised(Completions(completed.numpy(), said), theirs)
                    point[f"identity_recognition-{split}"] = float(right.mean())
            storage.write_json(path / "point.json", point)

        points.append(
            {"value": value}
            | storage.read_json(
                run.cached("front", made_from, make, f"unlearning with {field} {value:g}") / "point.json"
            )
        )
    return {"field": field, "points": points}
