"""Validated settings: the base of a recipe's parts and of methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from expunge.errors import RecipeError, did_you_mean

FEW = 12
"fields listed in addition to the one nearest to a misspelt name"


class Part(BaseModel):
    """Base of all parts of a recipe and of methods: frozen, and unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    if not TYPE_CHECKING:  # checkers know the fields

        def __init__(self, /, **fields: Any) -> None:
            """Raises `RecipeError` for an unknown field or a wrong value."""
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise _readable(error, type(self).__name__, type(self)) from None

        # Else pydantic would call it for the parts of what it validates, and their errors would not know where they
        # are.
        __init__.__pydantic_base_init__ = True


P = TypeVar("P", bound=Part)


def validate_part(kind: type[P], content: Mapping[str, Any], where: str) -> P:
    """Validate fields (a recipe's, a method's hyper-parameters), with errors that name the field and the nearest
    one."""
    try:
        return kind.model_validate(dict(content))
    except ValidationError as error:
        raise _readable(error, where, kind) from error


def _readable(error: ValidationError, where: str, root: type[Part]) -> RecipeError:
    first = error.errors()[0]
    kind: type[BaseModel] = root
    names: list[str] = []
    for part in map(str, first["loc"]):
        names.append(part)
        inner = kind.model_fields[part].annotation if part in kind.model_fields else None
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            break  # what follows are members of a union, no fields
        kind = inner
    place = ".".join(names)
    if first["type"] == "extra_forbidden":
        near = did_you_mean(names[-1], kind.model_fields)
        return RecipeError(
            f"{where}: there is no field {place}",
            allowed=", ".join(kind.model_fields) if near is None or len(kind.model_fields) <= FEW else None,
            next_step=near,
        )
    if first["type"] == "missing":
        return RecipeError(f"{where}: the field {place} is missing", next_step=f"add it, or give --{place}")
    here = [_wanted(each["msg"]) for each in error.errors() if each["loc"][: len(names)] == first["loc"][: len(names)]]
    return RecipeError(f"{where}: {place} is not right", seen=repr(first.get("input")), allowed="; or ".join(here))


def _wanted(message: str) -> str:
    """The requirement, extracted from pydantic's message."""
    wanted = message.removeprefix("Input should be ").removeprefix("Value error, ")
    return wanted.partition(", unable to parse")[0].partition(", got a number")[0]
