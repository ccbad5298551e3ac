"""What a sweep varies: `--over method.beta=0.05..0.5`, `--over training.max_steps=100,200`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, get_args, get_origin

from expunge.core.settings import Part
from expunge.errors import RecipeError
from expunge.runs.kinds import kinds_of, task_of
from expunge.runs.overrides import SHORT, read_overrides
from expunge.runs.recipe import BaseRecipe, make, merge
from expunge.runs.registry import make_method, method_class

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
RANGE = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})")
WHOLE = re.compile(r"[-+]?\d+")
DECADE = 10.0
"a range whose ends differ by more than this factor is drawn from evenly in the logarithm"
METHODS = ("method", "method.name")


@dataclass(frozen=True, slots=True)
class Axis:
    """A field that is varied.

    Attributes:
        field: of the recipe, dotted.
        said: as it was typed.
        choices: its values; empty for a range.
        low, high: ends of a range, both of which may be drawn; whole numbers where the field takes them.
        log: whether a range is drawn from evenly in the logarithm.
    """

    field: str
    said: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and not self.choices

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that are tried on the recipe before any work: all choices, or the ends of a range."""
        return self.choices or (self.low, self.high)


@dataclass(frozen=True, slots=True)
class Space:
    """Everything that a sweep varies, and the recipe that it varies.

    Attributes:
        kind: the recipe's class. fields: as they stand in its file. fixed: options laid over them.
        where: what errors call the recipe.
    """

    kind: type[BaseRecipe]
    fields: Mapping[str, Any]
    fixed: Mapping[str, Any]
    where: str
    axes: tuple[Axis, ...] = ()

    def recipe(self, values: Mapping[str, Any] = {}) -> BaseRecipe:
        """The recipe with these values. Raises `RecipeError` for an invalid value."""
        made = make(self.kind, self.fields, {**self.fixed, **values}, self.where)
        make_method(made.method, *(kind.name for kind in kinds_of(task_of(made))))
        return made

    def active(self, chosen: Mapping[str, Any]) -> list[Axis]:
        """The axes that apply with these values: a field of the method applies if the chosen method has it."""
        named = next((chosen[name] for name in METHODS if name in chosen), None)
        if named is None:
            return list(self.axes)
        known = method_class(str(named)).model_fields
        return [axis for axis in self.axes if not _of_method(axis) or axis.field.split(".")[1] in known]

    def combinations(self, most: int) -> list[dict[str, Any]] | None:
        """Every combination of values, if it is finite and at most `most`; else None."""
        columns: list[list[Any]] = []
        for axis in self.axes:
            if not (axis.choices or axis.whole):
                return None
            columns.append(list(axis.choices) or list(range(int(axis.low), int(axis.high) + 1)))
        if (
            math.prod(map(len, columns)) > most * 4
        ):  # fields of a method fall away for others, and combinations with them
            return None
        found: list[dict[str, Any]] = []
        for values in product(*columns):
            every = dict(zip((axis.field for axis in self.axes), values, strict=True))
            known = {axis.field for axis in self.active(every)}
            if (row := {name: value for name, value in every.items() if name in known}) not in found:
                found.append(row)
        return found if len(found) <= most else None


def read_space(
    kind: type[BaseRecipe], fields: Mapping[str, Any], fixed: Mapping[str, Any], over: Sequence[str], where: str
) -> Space:
    """Read the fields to vary, and check every choice and every end of a range against the recipe.

    Args:
        over: `FIELD=VALUES` each; VALUES are `low..high`, `log:low..high`, or values with commas between them.

    Raises:
        RecipeError: nothing to vary, a field that the recipe lacks (with the nearest), an invalid value.
    """
    bare = Space(kind, fields, fixed, where)
    bare.recipe()
    if not over:
        raise RecipeError("nothing is varied", next_step="name a field and its values: --over method.beta=0.05..0.5")
    axes: list[Axis] = []
    for text in over:
        name, equals, values = text.partition("=")
        field = SHORT.get(name.replace("_", "-"), name.replace("-", "_")).strip()
        if not equals or not field or not values.strip():
            raise RecipeError(
                f"--over {text} names no field with values",
                allowed="FIELD=LOW..HIGH, FIELD=log:LOW..HIGH, or FIELD=VALUE,VALUE",
                next_step="for example --over method.beta=0.05..0.5",
            )
        if any(field == each.field for each in axes):
            raise RecipeError(f"{field} is varied twice", next_step="give all of its values in one --over")
        if field in fixed:
            raise RecipeError(
                f"{field} is varied, and given as --{field} too", seen=str(fixed[field]), next_step="leave one out"
            )
        axes.append(_axis(field, values.strip(), bare, axes))
    axes.sort(key=lambda axis: axis.field not in METHODS)  # first the axis that decides which of the others apply
    space = Space(kind, fields, fixed, where, tuple(axes))
    _try(space)
    return space


def _axis(field: str, said: str, space: Space, before: Sequence[Axis]) -> Axis:
    found = RANGE.fullmatch(said)
    if found is None:
        if said.startswith("log:"):
            raise RecipeError(f"--over {field}: log: is for a range", seen=said, allowed="log:LOW..HIGH")
        values = [_value(field, text.strip(), space) for text in said.split(",")]
        if len(values) < 2:
            raise RecipeError(
                f"--over {field} has one value, and nothing to vary",
                seen=said,
                allowed="LOW..HIGH, log:LOW..HIGH, or values with commas between them",
                next_step=f"a value that all trials share is an option: --{field} {said}",
            )
        if twice := next((value for place, value in enumerate(values) if value in values[:place]), None):
            raise RecipeError(f"--over {field} names {twice} twice", seen=said)
        if odd := next((each for each in values if not isinstance(each, str | int | float | bool | None)), None):
            raise RecipeError(f"--over {field}: values are numbers, texts, true, false or null", seen=repr(odd))
        return Axis(field, said, tuple(values))
    whole = all(WHOLE.fullmatch(text) for text in found.groups()[1:]) and float not in _types(field, space, before)
    low, high = ((int(text) if whole else float(text)) for text in found.groups()[1:])
    if not low < high:
        raise RecipeError(f"--over {field}: a range rises", seen=said, allowed="LOW..HIGH, with LOW below HIGH")
    if found[1] and low <= 0:
        raise RecipeError(f"--over {field}: a logarithm wants ends above 0", seen=said, next_step="leave log: out")
    return Axis(field, said, (), low, high, bool(found[1]) or (low > 0 and high / low > DECADE))


def _value(field: str, text: str, space: Space) -> Any:
    """One value, read as when typed as an option."""
    [value] = read_overrides([f"--{field}={text}"], space.kind).values()
    return value


def _of_method(axis: Axis) -> bool:
    return axis.field.startswith("method.") and axis.field not in METHODS


def _types(field: str, space: Space, before: Sequence[Axis]) -> set[Any]:
    """The types of a field's values; empty if unknown."""
    kind: Any = space.kind
    parts = field.split(".")
    if parts[0] == "method" and len(parts) > 1:
        named = [value for axis in before if axis.field in METHODS for value in axis.choices]
        merged = merge(space.fields, space.fixed, space.where, space.kind.default_method)["method"]
        known = [method_class(str(name)) for name in named or [merged["name"]]]
        kind, parts = next((each for each in known if parts[1] in each.model_fields), known[0]), parts[1:]
    for part in parts:
        fields = kind.model_fields if isinstance(kind, type) and issubclass(kind, Part) else {}
        kind = fields[part].annotation if part in fields else None
    return set(_members(kind))


def _members(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _members(get_args(kind)[0])
    elif get_args(kind):
        for each in get_args(kind):
            yield from _members(each)
    else:
        yield kind


def _try(space: Space) -> None:
    """Hold each value of each axis against the recipe, with the first values of the others."""
    methods = next((axis for axis in space.axes if axis.field in METHODS), None)
    for chosen in [{}] if methods is None else [{methods.field: name} for name in methods.choices]:
        active = space.active(chosen)
        first = {axis.field: axis.ends[0] for axis in active} | chosen
        for axis in active:
            for value in axis.ends if axis is not methods else [chosen[axis.field]]:
                space.recipe({**first, axis.field: value})
    if methods is not None:
        used = {axis.field for name in methods.choices for axis in space.active({methods.field: name})}
        for axis in space.axes:
            if axis.field not in used:  # none of the methods has it: the error of one names its fields, and the nearest
                space.recipe({methods.field: methods.choices[0], axis.field: axis.ends[0]})
