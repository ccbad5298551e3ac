"""What the recipes of every kind of model share: reading a file, laying options over it, writing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import yaml

from expunge.core.plain_yaml import LOADER
from expunge.core.settings import Part, validate_part
from expunge.errors import RecipeError
from expunge.runs.shipped import find_recipe


class Thresholds(Part):
    """A recipe's part `verdict`. Each kind of model has a subclass."""

    if TYPE_CHECKING:
        more: dict[str, float]


class BaseRecipe(Part):
    """Everything that decides what a run does. Each kind of model has a subclass."""

    default_method: ClassVar[str]
    "the method where a recipe names none"

    if TYPE_CHECKING:  # what the run reads of every recipe; each kind gives them their descriptions and defaults
        model: str
        forget: str
        method: dict[str, Any]
        verdict: Thresholds
        measures: tuple[str, ...]
        seed: int

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


R = TypeVar("R", bound=BaseRecipe)


class _Loader(LOADER):
    """YAML in which `!beside NAME` is the path of a file in the folder of the recipe."""

    folder: Path


def _beside(loader: _Loader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise yaml.constructor.ConstructorError(None, None, "!beside takes the name of a file", node.start_mark)
    return str(loader.folder / loader.construct_scalar(node))


_Loader.add_constructor("!beside", _beside)


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of a recipe of any kind, by its path or name (`find_recipe`), as they stand there."""
    path = find_recipe(path)
    try:
        loader = _Loader(path.read_text(encoding="utf-8-sig"))
        loader.folder = path.parent.absolute()
        content = loader.get_single_data()
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}", seen=error.strerror) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid YAML", seen=str(error).replace("\n", " ")) from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping of fields", seen=type(content).__name__)
    return content


def make(kind: type[R], content: Mapping[str, Any], overrides: Mapping[str, Any] = {}, where: str = "recipe") -> R:
    """Validate a mapping, with dotted overrides (`training.learning_rate`) laid over it, as a recipe of this class."""
    fields = content if "task" in kind.model_fields else {k: v for k, v in content.items() if k != "task"}
    return validate_part(kind, merge(fields, overrides, where, kind.default_method), where)


def merge(content: Mapping[str, Any], overrides: Mapping[str, Any], where: str, method: str) -> dict[str, Any]:
    """Fields with dotted overrides laid over them; `method` is what is meant where only hyper-parameters are given."""
    merged: dict[str, Any] = _copy(content)
    merged["method"] = _named(merged.get("method", {}), method)
    # What holds others comes first, so that the order in which options were given does not matter.
    for dotted, value in sorted(overrides.items(), key=lambda item: item[0].removesuffix(".name").count(".")):
        *parents, leaf = dotted.split(".")
        node = merged
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise RecipeError(f"{where}: {parent} holds a value, not fields", seen=f"--{dotted}")
        if dotted == "method":
            value = _named(value, method)
        if dotted in ("method.of", "method.of.name") and isinstance(value, str):
            node, leaf, value = merged["method"], "of", {"name": value}
        if dotted == "method.name" and merged["method"].get("name") != value:
            merged["method"] = {}
            node = merged["method"]
        node[leaf] = value
    return merged


def _named(method: Any, default: str) -> Any:
    """A method given by its name alone, or by hyper-parameters alone, as a mapping of both."""
    if isinstance(method, str):
        return {"name": method}
    return {"name": default, **method} if isinstance(method, Mapping) else method


def _copy(value: Any) -> Any:
    return {k: _copy(v) for k, v in value.items()} if isinstance(value, Mapping) else value
