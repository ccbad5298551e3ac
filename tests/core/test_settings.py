"""Parts that are made in Python: a misspelt field or a wrong value is told in Expunge's own words."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from expunge.core.settings import Part, validate_part
from expunge.errors import RecipeError


class Inner(Part):
    rate: float = 0.1


class Outer(Part):
    inner: Inner = Inner()
    steps: int = 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"stepss": 2}, "Outer: there is no field stepss\n  allowed: inner, steps\n  next:    did you mean steps?"),
        ({"steps": "x"}, "Outer: steps is not right\n  seen:    'x'\n  allowed: a valid integer"),
        ({"inner": {"rat": 1}}, "Outer: there is no field inner.rat\n  allowed: rate\n  next:    did you mean rate?"),
    ],
)
def test_what_does_not_fit_is_told(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Outer(**fields)
    assert str(caught.value) == words
    with pytest.raises(RecipeError) as caught:
        validate_part(Outer, fields, "recipe.yaml")
    assert str(caught.value) == words.replace("Outer", "recipe.yaml", 1)


def test_what_fits_is_taken_as_it_is() -> None:
    assert (Outer(steps=3).steps, Outer(inner=Inner(rate=2)).inner.rate) == (3, 2.0)
    assert list(inspect.signature(Outer).parameters) == ["inner", "steps"]
