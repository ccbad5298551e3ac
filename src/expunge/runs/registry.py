"""Finding methods: built-in ones by file or folder name, those of other packages by the entry points `expunge.methods`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from expunge.core.settings import validate_part
from expunge.errors import RecipeError, near_names, nearest
from expunge.runs.folder import RunFolder
from expunge.runs.kind import Kind
from expunge.runs.kinds import kinds_by_name, kinds_of, task_of
from expunge.runs.plugins import entry_points, reference
from expunge.runs.recipe import BaseRecipe

if TYPE_CHECKING:  # it imports torch, and a misspelt name is reported before
    from expunge.runs.method import Method

NO_METHODS = {"encoder_training", "image_method"}
FOLDER = "expunge.methods"
ALL = "expunge methods lists all"


def built_in() -> list[str]:
    """Names of the methods in the folder of methods."""
    # by name: methods build on what runs are, not the other way round
    return list(_names_in(tuple(importlib.import_module(FOLDER).__path__)))


@cache
def _names_in(places: Sequence[str]) -> tuple[str, ...]:
    """Folders are listed once in a process."""
    return tuple(sorted(each.name for each in pkgutil.iter_modules(places) if each.name not in NO_METHODS))


def installed() -> dict[str, str]:
    """Methods of other packages: name -> where they come from."""
    return {point.name: point.value for point in entry_points(group="expunge.methods")}


def method_class(name: str, *kinds: str) -> type[Method]:
    """The class of a method.

    Args:
        kinds: the kinds of model that it is wanted for; any, where none is named. They decide what an error proposes.

    Raises:
        RecipeError: no such method; names the nearest.
    """
    if name in built_in():
        from expunge.runs.method import Method

        module = importlib.import_module(f"{FOLDER}.{name}")
        own = {module.__name__, f"{module.__name__}.method"}  # a file, or a folder whose class is in its method.py
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Method) and value.__module__ in own:
                return value
    for point in entry_points(group="expunge.methods"):
        if point.name == name:
            return point.load()
    raise _unknown(name, working_on(*kinds))


def _unknown(name: str, known: Sequence[str]) -> RecipeError:
    return RecipeError(f"there is no method {name!r}", next_step=near_names(name, known, ALL))


def refuse_unknown(name: str) -> None:
    """Raise `RecipeError` if there is no method of this name; no method's file is read, nor torch."""
    if name not in (known := [*built_in(), *installed()]):
        raise _unknown(name, known)


def working_on(*kinds: str) -> list[str]:
    """Names of the methods that work on one of these kinds of model; of all, where none is named."""
    known = [*built_in(), *installed()]
    return [name for name in known if not kinds or set(kinds) & set(method_class(name).needs.kinds)]


def make_method(spec: Mapping[str, Any], *kinds: str) -> Method:
    """A method from a recipe's `method` mapping: its `name` and hyper-parameters.

    Args:
        kinds: the kinds of model that it is to work on, the usual one first; any, where none is named.

    Raises:
        RecipeError: no such method, one that works on none of these kinds, or a hyper-parameter that does not fit.
    """
    fields = dict(spec)
    name = fields.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError("the recipe's method has no name", next_step="add method.name: expunge methods lists them")
    found = method_class(name, *kinds)
    if kinds and not set(kinds) & set(found.needs.kinds):
        able = working_on(*kinds)
        near = nearest(name, able)
        raise RecipeError(
            f"the method {name} does not work on {kinds_by_name()[kinds[0]].words}",
            seen=f"{name} works on {' and '.join(words_of(found))}",
            next_step=(f"did you mean {near}? " if near else "") + "expunge methods lists what each works on",
        )
    return validate_part(found, fields, f"method {name}")


def make_wrapped(of: str | Mapping[str, Any], by: str) -> Method:
    """The method that another one wraps, from its name, or its name and hyper-parameters.

    Args:
        by: the name of that other one.

    Raises:
        RecipeError: it does not work on language models, or wraps a method itself.
    """
    spec = {"name": of} if isinstance(of, str) else of
    found = make_method(spec)
    if "causal_lm" not in found.needs.kinds or found.carried_out is not found or found.kept_beside is not None:
        raise RecipeError(
            f"{by} cannot wrap {spec['name']}",
            seen=None if found.kept_beside is None else f"{spec['name']} {found.kept_beside}",
            allowed="a method for language models that wraps none itself, and leaves a plain model",
            next_step="expunge methods lists them: --method.of npo",
        )
    return found


def words_of(method: type[Method]) -> list[str]:
    """The kinds of model that a method works on, in words."""
    known = kinds_by_name()
    return [known[name].words for name in method.needs.kinds if name in known]


def refuse_missing(recipe: BaseRecipe, folder: RunFolder | None = None, weights: bool = True) -> None:
    """Raise for a method, file, folder or model that a recipe names and that is not there: the names first, then fields of
    the method, so that torch is imported for nothing that is misspelt.

    Args:
        folder: that of the run, where there is to be one.
        weights: whether models are loaded; else their configuration is enough.

    Raises:
        ExpungeError: with what is missing, and the next step.
    """
    if isinstance(name := recipe.method.get("name"), str):
        refuse_unknown(name)
    kinds = kinds_of(task_of(recipe))
    if (missing := kinds[0].missing) is not None:
        reference(missing)(recipe, folder, weights)
    make_method(recipe.method, *(kind.name for kind in kinds))


def kind_of(recipe: BaseRecipe) -> Kind:
    """The kind of model that a recipe is for: of those that share its task, the one that its method works on."""
    same = kinds_of(task_of(recipe))
    if len(same) > 1 and (name := recipe.method.get("name")) in working_on():
        able = method_class(str(name)).needs.kinds
        return next((kind for kind in same if kind.name in able), same[0])
    return same[0]
