"""What --over says: ranges, choices, and what is refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.errors import RecipeError
from expunge.kinds.language.recipe import Recipe
from expunge.sweep.axes import Axis, Space, read_space

FIELDS = {"model": "smollm2-135m", "forget": "a.txt", "retain": "b.txt", "method": {"name": "npo"}}


def read(*over: str, fixed: dict[str, Any] | None = None) -> Space:
    return read_space(Recipe, FIELDS, fixed or {}, over, "recipe.yaml")


def only(text: str) -> Axis:
    [axis] = read(text).axes
    return axis


@pytest.mark.parametrize(
    ("text", "low", "high", "log"),
    [
        ("method.beta=0.05..0.5", 0.05, 0.5, False),
        ("method.beta=0.05..0.51", 0.05, 0.51, True),  # more than ten times
        ("method.beta=log:0.1..0.5", 0.1, 0.5, True),
        ("method.beta=1..5", 1.0, 5.0, False),  # this field holds numbers with a point
        ("training.learning_rate=1e-6..1e-4", 1e-6, 1e-4, True),
        ("training.max_steps=10..90", 10, 90, False),
        ("training.max_steps=10..200", 10, 200, True),
        ("seed=0..200", 0, 200, False),  # 0 has no logarithm
    ],
)
def test_a_range(text: str, low: float, high: float, log: bool) -> None:
    axis = only(text)
    assert (axis.low, axis.high, axis.log, axis.choices) == (low, high, log, ())
    assert type(axis.low) is type(low)


def test_choices_are_read_as_options_are() -> None:
    assert only("training.max_steps=100,200").choices == (100, 200)
    assert only("forget=1984,../b.txt").choices == ("1984", "../b.txt")
    assert only("training.adapter_rank=null,8").choices == (None, 8)


@pytest.mark.parametrize(
    ("over", "what", "next_step"),
    [
        ("method.betta=0.1..1", "method npo: there is no field betta", "did you mean beta?"),
        ("trainng.max_steps=1,2", "recipe.yaml: there is no field trainng", "did you mean training?"),
        ("training.max_stps=1..2", "recipe.yaml: there is no field training.max_stps", "did you mean max_steps?"),
        ("method=npo,simnop", "there is no method 'simnop'", "did you mean simnpo? expunge methods lists all"),
        ("method.beta=-1..0.5", "method npo: beta is not right", None),
        ("training.max_steps=1.5..3", "recipe.yaml: training.max_steps is not right", None),
        (
            "seed=3",
            "--over seed has one value, and nothing to vary",
            "a value that all trials share is an option: --seed 3",
        ),
        ("seed=3,3", "--over seed names 3 twice", None),
        ("method.beta=1..0.1", "--over method.beta: a range rises", None),
        ("seed=log:0..9", "--over seed: a logarithm wants ends above 0", "leave log: out"),
        ("method.beta=log:1,2", "--over method.beta: log: is for a range", None),
        ("method.beta", "--over method.beta names no field with values", "for example --over method.beta=0.05..0.5"),
    ],
)
def test_what_is_refused(over: str, what: str, next_step: str | None) -> None:
    with pytest.raises(RecipeError) as caught:
        read(over)
    assert (caught.value.what, caught.value.next_step) == (what, next_step)


def test_a_field_is_varied_once_and_not_fixed_besides() -> None:
    with pytest.raises(RecipeError, match="nothing is varied"):
        read()
    with pytest.raises(RecipeError, match="seed is varied twice"):
        read("seed=1,2", "seed=3..4")
    with pytest.raises(RecipeError, match="seed is varied, and given as --seed too"):
        read("seed=1,2", fixed={"seed": 3})


def test_a_method_s_own_field_counts_where_the_method_has_it() -> None:
    space = read("method.gamma=0..1", "method=npo,simnpo")
    assert [axis.field for axis in space.axes] == ["method", "method.gamma"], "what decides comes first"
    assert [axis.field for axis in space.active({"method": "npo"})] == ["method"]
    assert [axis.field for axis in space.active({"method": "simnpo"})] == ["method", "method.gamma"]
    assert space.recipe({"method": "simnpo", "method.gamma": 0.5}).method == {"name": "simnpo", "gamma": 0.5}
    with pytest.raises(RecipeError, match="there is no field gama") as caught:
        read("method.gama=0..1", "method=npo,simnpo")
    assert caught.value.allowed is not None


def test_combinations_are_counted_where_they_can_be() -> None:
    space = read("seed=1..3", "training.max_steps=10,20")
    assert space.combinations(5) is None
    assert space.combinations(6) == [
        {"seed": seed, "training.max_steps": steps} for seed in (1, 2, 3) for steps in (10, 20)
    ]
    assert read("seed=1,2", "method.beta=0.1..0.2").combinations(1000) is None
    one_has_it = read("method=npo,gradient_ascent", "method.beta=1,2")
    assert one_has_it.combinations(3) == [
        {"method": "npo", "method.beta": 1},
        {"method": "npo", "method.beta": 2},
        {"method": "gradient_ascent"},
    ]
