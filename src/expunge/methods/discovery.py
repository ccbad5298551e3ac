"""Finding methods: built-in ones by file name in this folder, other people's by the entry point group `expunge.methods`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

import expunge.methods as package
from expunge.errors import RecipeError, nearest
from expunge.methods.base import Method
from expunge.parts import validate_part

NO_METHODS = {"base", "discovery", "encoder_training"}


def built_in() -> list[str]:
    """Names of the methods in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in NO_METHODS)


def installed() -> dict[str, str]:
    """Methods of other packages: name -> where they come from."""
    return {point.name: point.value for point in entry_points(group="expunge.methods")}


def method_class(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        RecipeError: no such method; names the nearest.
    """
    if name in built_in():
        module = importlib.import_module(f"expunge.methods.{name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Method) and value.__module__ == module.__name__:
                return value
    for point in entry_points(group="expunge.methods"):
        if point.name == name:
            found: type[Method] = point.load()
            return found
    known = [*built_in(), *installed()]
    near = nearest(name, known)
    raise RecipeError(
        f"there is no method {name!r}", allowed=", ".join(known), next_step=f"did you mean {near}?" if near else None
    )


def make_method(spec: Mapping[str, Any]) -> Method:
    """A method from a recipe's `method` mapping: its `name` and hyper-parameters."""
    fields = dict(spec)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError("the recipe's method has no name", next_step="add method.name: expunge methods lists them")
    return validate_part(method_class(name), fields, f"method {name}")
