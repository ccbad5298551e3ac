"""Measures of other packages: entry points of the group `expunge.measures`.

A recipe names those that are taken (`measures`). One that trains or changes the model first is given a copy. The
attacks of an audit are in `runs/attacking.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any, TypeVar

from expunge.core.score import Score, Which
from expunge.errors import RecipeError, did_you_mean
from expunge.runs.check import Threshold
from expunge.runs.context import Run
from expunge.runs.measure import Measure
from expunge.runs.plugins import entry_points
from expunge.runs.recipe import BaseRecipe

MEASURES = "expunge.measures"

R = TypeVar("R", bound=BaseRecipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A measure of another package.

    Attributes:
        kinds: the kinds of models that it works on, as methods list them (`causal_lm`, `image_classifier`, ...).
        measures: the measures of its scores.
        take: (model, sets, which) to the scores of one model. It is given the kind's task, such as `CausalLM`, and
            leaves it as it is. `sets` are the run's, as the kind reads them; for a language model they include the
            prompts.
        changes: it trains or changes the model first: instead of the model it gets a function without arguments, which
            loads a fresh copy at every call.
        thresholds: judged if the recipe takes the measure; the limit is `verdict.more`'s, else the threshold's default.
    """

    kinds: tuple[str, ...]
    measures: tuple[Measure, ...]
    take: Callable[[Any, Any, Which], list[Score]]
    changes: bool = False
    thresholds: tuple[Threshold, ...] = ()


def _points() -> Iterator[EntryPoint]:
    yield from entry_points(group=MEASURES)


def installed() -> dict[str, Extra]:
    """Every measure of another package, by the name of its entry point."""
    return {point.name: point.load() for point in _points()}


def missing(recipe: BaseRecipe) -> list[str]:
    """Measures that a recipe names and that are not installed."""
    return [name for name in recipe.measures if name not in {point.name for point in _points()}]


def with_extras(recipe: R, kinds: Iterable[str]) -> R:
    """The recipe with the limits of the measures that it names filled in, so that they are fixed before the run.

    Args:
        kinds: the kinds of models that share the recipe's task.

    Raises:
        RecipeError: a measure that is not installed or works on other models, or a limit that none of them has.
    """
    if not recipe.measures and not recipe.verdict.more:
        return recipe
    known, kinds = installed(), set(kinds)
    able = [name for name, extra in known.items() if kinds & set(extra.kinds)]
    for name in recipe.measures:
        if name not in able:
            raise RecipeError(
                f"there is no measure {name!r}" + (" for this kind of model" if name in known else ""),
                allowed=", ".join(able) or f"those of installed packages (entry points {MEASURES}); none is",
                next_step=did_you_mean(name, able),
            )
    limits = {each.name: each.default for name in recipe.measures for each in known[name].thresholds}
    for name in recipe.verdict.more:
        if name not in limits:
            raise RecipeError(
                f"verdict.more: no measure that the recipe names has the threshold {name!r}",
                allowed=", ".join(limits) or "none; `measures` names the measures of other packages",
            )
    fixed = {name: limit for name, limit in limits.items() if limit is not None} | recipe.verdict.more
    return recipe.model_copy(update={"verdict": recipe.verdict.model_copy(update={"more": fixed})})


def extra_thresholds(limits: Mapping[str, float]) -> list[Threshold]:
    """The thresholds of other packages that have a limit. One without a measurement is not met."""
    if not limits:
        return []
    known = {each.name: each for extra in installed().values() for each in extra.thresholds}
    return [_made(known[name]) if name in known else _unknown(name) for name in limits]


def _made(threshold: Threshold) -> Threshold:
    return replace(threshold, judged=lambda case: threshold.judged(case) or case.failed("not measured"))


def _unknown(name: str) -> Threshold:
    reason = "not judged: the package with this threshold is not installed"
    return Threshold(name, name, "at most: unknown", lambda case: case.failed(reason), unit="")


def extra_scores(
    run: Run[Any], which: Which, key: Mapping[str, Any], load: Callable[[], Any], fresh: Callable[[], Any], sets: Any
) -> list[Score]:
    """The scores of one model by the measures of other packages that the recipe names; each is cached.

    Args:
        key: everything that the scores depend on, including the model's and the sets' digests.
        load: returns the model, as the kind's task.
        fresh: loads a copy that may be changed.
    """
    found: list[Score] = []
    for point in _points():
        if point.name not in run.recipe.measures:
            continue
        extra: Extra = point.load()
        package = point.dist

        def make(extra: Extra = extra) -> list[dict[str, Any]]:
            scores = extra.take(fresh if extra.changes else load(), sets, which)
            return [{**score.row(), "examples": list(score.examples)} for score in scores]

        rows = run.cached_json(
            f"measured-{which}-{point.name}",
            {"which": which, "code": [point.value, package.version if package else None], **key},
            make,
            "scores.json",
            f"{point.name} of the {which} model",
        )
        found += [Score(**{**row, "examples": tuple(row["examples"])}) for row in rows]
    return found
