"""The trade-off: retaining against forgetting, over values of the method's trade-off field; each value is a stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.errors import RecipeError
from expunge.kinds.generator.judge_network import Judge
from expunge.kinds.generator.measures import image_quality as quality
from expunge.kinds.generator.measures.scores import Originals, recognised
from expunge.kinds.generator.recipe import GeneratorRecipe
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import ImageToImage
from expunge.models.source import ModelSource
from expunge.runs.artifacts import on_progress
from expunge.runs.registry import make_method, method_class

TRADEOFF_FIELDS = ("alpha", "epsilon", "strangeness")
"fields that trade retaining for forgetting; a method's trade-off field is the first of them that it has"
SPLITS = ("retain_test", "forget")


def tradeoff_field(recipe: GeneratorRecipe) -> str:
    """The field of the recipe's method that is varied. Raises `RecipeError` if it has none."""
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


def front(judge: Judge, source: ModelSource, originals: Mapping[str, Originals]) -> dict[str, Any] | None:
    """{"field", "points"}, a point for each value of `evaluation.front`: Fréchet distances, PSNR, identification.

    None if `evaluation.front` is empty. The unlearned models of the points are not saved.
    """
    run, sets, recipe = judge.run, judge.sets, judge.run.recipe
    values = recipe.evaluation.front
    if not values:
        return None
    field = tradeoff_field(recipe)
    points = []
    for value in sorted(values):
        method = recipe.method | {field: value}
        made_from = {
            "model": source.digest,
            "sets": sets.digests(),
            "corruption": judge.corruption.key,
            "method": method,
            "network": judge.about["digest"],
            "pictures": recipe.evaluation.pictures,
            "seed": recipe.seed,
        }

        def make(method: dict[str, Any] = method) -> dict[str, float]:
            task, shown = judge.load(source), on_progress(run.show)
            work = GeneratorWork(
                task=task, retain=sets.kept, forget=sets.tensors["forget"], seed=recipe.seed, on_progress=shown
            )
            make_method(method).apply(work)
            return _point(judge, task, originals)

        point = run.cached_json("front", made_from, make, "point.json", f"unlearning with {field} {value:g}")
        points.append({"value": value} | point)
    return {"field": field, "points": points}


def _point(judge: Judge, task: ImageToImage, originals: Mapping[str, Originals]) -> dict[str, float]:
    point: dict[str, float] = {}
    for split in SPLITS:
        ours, theirs = judge.completed(task, split), originals[split]
        if len(ours.pictures) >= quality.FEWEST:
            point[f"frechet-{split}"] = quality.frechet_distance(ours.seen.features, theirs.seen.features)
        point[f"psnr-{split}"] = float(quality.psnr(ours.pictures, theirs.pictures).mean())
        if theirs.people is None:
            point[f"identity_recognition-{split}"] = float(recognised(ours, theirs).mean())
    return point
