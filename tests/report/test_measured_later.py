"""What of the measuring was set only after a model was trained."""

from __future__ import annotations

from typing import Any

from expunge.kinds.language.recipe import MEASURING, Recipe, measured_later


def noted(recipe: Recipe) -> dict[str, Any]:
    return {"measuring": recipe.model_dump(mode="json", include=set(MEASURING))}


def test_what_was_added_is_named() -> None:
    before = Recipe(forget="x")
    evaluation = before.evaluation.model_copy(update={"benchmarks": "b", "ordinary_text": "t"})
    toxicity = before.toxicity.model_copy(update={"prompts": "p"})
    after = before.model_copy(update={"evaluation": evaluation, "toxicity": toxicity, "retrained": "r"})
    assert measured_later(before, noted(before)) == []
    named = measured_later(after, noted(before))
    assert named is not None
    assert set(named) == {"benchmarks", "ordinary text", "toxicity prompts", "retrained model"}
    assert measured_later(after, noted(after)) == []


def test_a_model_that_was_saved_without_a_note() -> None:
    assert measured_later(Recipe(forget="x"), {}) is None
