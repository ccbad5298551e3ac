"""Recipes: read, overridden, refused with the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml

from expunge.errors import RecipeError
from expunge.kinds.language.recipe import Recipe, load_recipe, make_recipe


def make(content: dict[str, Any] | None = None, **overrides: Any) -> Recipe:
    return make_recipe({"forget": "Harry Potter"} | (content or {}), overrides)


def test_a_target_is_enough() -> None:
    recipe = make()
    assert recipe.method == {"name": "whos_harry_potter"}
    assert recipe.model == "smollm2-135m"
    with pytest.raises(RecipeError, match="recipe: the field forget is missing"):
        make_recipe({}, {})


def test_it_is_frozen() -> None:
    recipe = make()
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        recipe.training.learning_rate = 3.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("content", "place", "near"),
    [
        ({"metod": "fine_tune"}, "metod", "method"),
        ({"training": {"learning_rat": 1e-5}}, "training.learning_rat", "learning_rate"),
        ({"verdict": {"perplexity_retian": 2}}, "verdict.perplexity_retian", "perplexity_retain"),
        ({"zzz": 1}, "zzz", None),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_name(
    content: dict[str, Any], place: str, near: str | None
) -> None:
    with pytest.raises(RecipeError) as caught:
        make(content)
    assert caught.value.what == f"recipe: there is no field {place}"
    assert caught.value.next_step == (f"did you mean {near}?" if near else None)
    assert caught.value.exit_code == 2
    if near is not None:
        assert near in (caught.value.allowed or near).split(", ")


@pytest.mark.parametrize(
    ("content", "place", "seen", "allowed"),
    [
        ({"training": {"learning_rate": -1}}, "training.learning_rate", "-1", "greater than 0"),
        ({"training": {"learning_rate": "fast"}}, "training.learning_rate", "'fast'", "number"),
        ({"training": {"bf16": "maybe"}}, "training.bf16", "'maybe'", "'auto'"),
        ({"training": {"bf16": "maybe"}}, "training.bf16", "'maybe'", "boolean"),
        ({"training": {"max_steps": 0}}, "training.max_steps", "0", "greater than 0"),
        ({"training": {"warmup_ratio": 2}}, "training.warmup_ratio", "2", "less than or equal to 1"),
        ({"training": None}, "training", "None", "Training"),
        ({"data": {"block_size": 4}}, "data.block_size", "4", "16"),
        ({"seed": "x"}, "seed", "'x'", "integer"),
        ({"method": 3}, "method", "3", "dictionary"),
        ({"save_dtype": "int8"}, "save_dtype", "'int8'", "bfloat16"),
    ],
)
def test_a_value_that_does_not_fit_is_named(content: dict[str, Any], place: str, seen: str, allowed: str) -> None:
    with pytest.raises(RecipeError) as caught:
        make(content)
    assert caught.value.what == f"recipe: {place} is not right"
    assert caught.value.seen == seen
    assert allowed in (caught.value.allowed or "")


def test_dotted_overrides() -> None:
    recipe = make(
        {"training": {"learning_rate": 1e-3, "max_steps": 5}},
        **{"training.learning_rate": 1e-5, "data.block_size": 64, "seed": 3},
    )
    assert (recipe.training.learning_rate, recipe.training.max_steps) == (1e-5, 5)
    assert (recipe.data.block_size, recipe.seed) == (64, 3)
    with pytest.raises(RecipeError, match="seed holds a value, not fields"):
        make({"seed": 3}, **{"seed.x": 1})
    with pytest.raises(RecipeError, match=r"there is no field training\.nothing"):
        make(**{"training.nothing": 1})


def test_overrides_do_not_write_into_what_they_were_given() -> None:
    content = {"forget": "x", "training": {"max_steps": 5}, "method": {"name": "fine_tune"}}
    make_recipe(content, {"training.max_steps": 7, "method.alpha": 2})
    assert content == {"forget": "x", "training": {"max_steps": 5}, "method": {"name": "fine_tune"}}


@pytest.mark.parametrize(
    ("content", "overrides", "method"),
    [
        ({"method": "fine_tune"}, {}, {"name": "fine_tune"}),
        ({}, {"method": "fine_tune"}, {"name": "fine_tune"}),
        ({}, {"method.name": "fine_tune"}, {"name": "fine_tune"}),
        # hyper-parameters of the method that is used anyway
        ({}, {"method.top_k": 5}, {"name": "whos_harry_potter", "top_k": 5}),
        ({"method": {"top_k": 5}}, {}, {"name": "whos_harry_potter", "top_k": 5}),
        ({}, {"method": {"top_k": 5}}, {"name": "whos_harry_potter", "top_k": 5}),
        # of one that the recipe names alone
        (
            {"method": "gradient_difference"},
            {"method.retain_weight": 0},
            {"name": "gradient_difference", "retain_weight": 0},
        ),
        # another method begins with its own defaults, the same one keeps what the recipe says
        ({"method": {"name": "whos_harry_potter", "alpha": 3}}, {"method.name": "fine_tune"}, {"name": "fine_tune"}),
        (
            {"method": {"name": "gradient_difference", "retain_weight": 3}},
            {"method.name": "gradient_difference"},
            {"name": "gradient_difference", "retain_weight": 3},
        ),
    ],
)
def test_the_method(content: dict[str, Any], overrides: dict[str, Any], method: dict[str, Any]) -> None:
    assert make(content, **overrides).method == method


@pytest.mark.parametrize("name", ["method", "method.name"])
def test_the_order_of_options_does_not_matter(name: str) -> None:
    options = {name: "gradient_difference", "method.retain_weight": 0.5}
    backwards = dict(reversed(options.items()))
    expected = {"name": "gradient_difference", "retain_weight": 0.5}
    assert make(**options).method == make(**backwards).method == expected
    nested = {"training.max_steps": 3, "training": {"max_steps": 9, "learning_rate": 1e-3}}
    assert make(**nested).training == make(**dict(reversed(nested.items()))).training
    assert make(**nested).training.max_steps == 3


def test_a_recipe_that_was_written_is_the_recipe_that_is_read(tmp_path: Path) -> None:
    recipe = make(
        {"method": {"name": "whos_harry_potter", "alpha": 3.5}, "retain": "Émile"}, **{"training.bf16": False}
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(file) == recipe
    assert load_recipe(file, {"seed": 4}) == recipe.model_copy(update={"seed": 4})
    assert set(yaml.safe_load(recipe.to_yaml())) == set(Recipe.model_fields)


def test_scientific_numbers_in_a_recipe_file(tmp_path: Path) -> None:
    """YAML 1.1 reads 1e-5 as text."""
    file = tmp_path / "recipe.yaml"
    file.write_text("forget: x\ntraining: {learning_rate: 1e-5}\n")
    assert load_recipe(file).training.learning_rate == 1e-5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"forget: [x", "is not valid YAML"),
        (b"forget: caf\xe9", "is not valid YAML"),
        (b"- forget", "must hold a mapping of fields"),
        (b"", "must hold a mapping of fields"),
        (b"forget: x\nmetod: y", "there is no field metod"),
    ],
)
def test_a_file_that_is_no_recipe_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_recipe(file)
    assert message in caught.value.what
    assert caught.value.what.startswith(str(file))


def test_a_recipe_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no recipe"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe(tmp_path)
