"""Options that are fields of the recipe."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.errors import RecipeError
from expunge.kinds.classifier.recipe import ImageRecipe
from expunge.kinds.language.recipe import make_recipe
from expunge.runs.overrides import read_overrides
from expunge.runs.recipe import make


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("2E3", 2000.0),
        ("1.5e-4", 1.5e-4),
        (".5e1", 5.0),
        ("-1e+2", -100.0),
        ("0.25", 0.25),
        ("3", 3),
        ("-1", -1),
        ("auto", "auto"),
        ("true", True),
        ("false", False),
        ("null", None),
        ("smollm2-135m", "smollm2-135m"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("1e5x", "1e5x"),
        ("inf", "inf"),
        ("[1, 2]", [1, 2]),
        ("{name: fine_tune}", {"name": "fine_tune"}),
        ("2024-01-01", "2024-01-01"),
        ("[", "["),
        ("@x", "@x"),
        ("Harry Potter", "Harry Potter"),
    ],
)
def test_values(text: str, value: Any) -> None:
    for tokens in (["--a.b", text], [f"--a.b={text}"]):
        found = read_overrides(tokens)["a.b"]
        assert found == value
        assert type(found) is type(value)


def test_names() -> None:
    assert read_overrides(["--training.learning-rate", "1e-5", "--seed=3", "--prompts", "p.jsonl"]) == {
        "training.learning_rate": 1e-5,
        "seed": 3,
        "evaluation.prompts": "p.jsonl",
    }
    assert read_overrides(["--anchors-from", "http://localhost:8000/v1?a=b"]) == {
        "anchors.url": "http://localhost:8000/v1?a=b"
    }
    assert read_overrides(["--toxicity-prompts", "1984", "--toxicity-groups=g.jsonl", "--scorer", "a:b"]) == {
        "toxicity.prompts": "1984",
        "toxicity.groups": "g.jsonl",
        "toxicity.scorer": "a:b",
    }
    assert read_overrides([]) == {}


@pytest.mark.parametrize("name", ["forget", "retain", "model", "anchors.model", "evaluation.prompts", "revision"])
def test_text_that_looks_like_a_number_stays_text(name: str) -> None:
    for text in ("1984", "007", "1e5", "true", "2024-01-01", "[x]"):
        assert read_overrides([f"--{name}", text]) == {name: text}
    assert make_recipe({"forget": "x"}, read_overrides(["--forget", "1984"])).forget == "1984"
    assert read_overrides(["--retain", "null"]) == {"retain": None}
    assert read_overrides(["--forget", "null"]) == {"forget": "null"}


@pytest.mark.parametrize("name", ["data", "test_data", "forget", "model", "retrained", "revision", "images.label"])
def test_text_fields_of_a_recipe_for_classifiers(name: str) -> None:
    for text in ("1984", "007", "1e5", "true", "[x]"):
        assert read_overrides([f"--{name}", text], ImageRecipe) == {name: text}
    assert read_overrides(["--test_data", "null"], ImageRecipe) == {"test_data": None}
    found = read_overrides(["--data", "1984", "--images.bins", "10", "--retrained", "train"], ImageRecipe)
    recipe = make(ImageRecipe, {"forget": "x"}, found)
    assert (recipe.data, recipe.images.bins, recipe.retrained) == ("1984", 10, "train")


def test_a_part_may_be_given_whole() -> None:
    """What is a text in one kind of recipe may be a part in the other."""
    assert read_overrides(["--data", "{block_size: 64}"]) == {"data": {"block_size": 64}}
    assert read_overrides(["--data", "some/folder"]) == {"forget": "some/folder"}


def test_a_value_may_begin_with_a_hyphen_or_hold_an_equals_sign() -> None:
    assert read_overrides(["--seed", "-1", "--retain=a=b"]) == {"seed": -1, "retain": "a=b"}


def test_what_does_not_pair_up_is_refused() -> None:
    with pytest.raises(RecipeError, match="unexpected argument 'stray'"):
        read_overrides(["stray"])
    with pytest.raises(RecipeError, match="the option --seed has no value") as caught:
        read_overrides(["--retain", "x", "--seed"])
    assert caught.value.next_step == "give one: --seed VALUE"
    assert caught.value.exit_code == 2


def test_data_is_what_a_language_model_is_to_forget_and_what_a_classifier_is_given() -> None:
    assert read_overrides(["--data", "folder", "--data.block_size", "64"]) == {
        "forget": "folder",
        "data.block_size": 64,
    }
    assert read_overrides(["--data", "folder"], ImageRecipe) == {"data": "folder"}


def test_hyper_parameters_of_the_method_inside_another() -> None:
    options = ["--method", "spunge", "--method.of", "npo", "--method.of.beta", "0.2", "--method.split_by", "group"]
    recipe = make_recipe({"forget": "x", "method": {"name": "dpo", "beta": 3.0}}, read_overrides(options))
    assert recipe.method == {"name": "spunge", "of": {"name": "npo", "beta": 0.2}, "split_by": "group"}
    assert make_recipe(recipe.model_dump(), {"method.of": "dpo"}).method["of"] == {"name": "dpo"}
