"""Discovery of plugins: a folder each in a package of expunge, or an entry point of another package."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any


def reference(text: str) -> Any:
    """The object of `module:name`."""
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def entry_points(group: str) -> list[metadata.EntryPoint]:
    """Entry points of other packages in a group. Their lists are read once for each search path."""
    return list(_points(group, tuple(sys.path)))


@cache
def _points(group: str, search_path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=group))


def named_in(package: ModuleType, base: type[Any]) -> list[Any]:
    """The classes in the files of a package that are subclasses of another one and have a `name`, each once."""
    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}") for each in pkgutil.iter_modules(package.__path__)
    ]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    return list({each: None for each in classes if issubclass(each, base) and "name" in vars(each)})


def found_in(group: str, module: str, name: str) -> list[Any]:
    """`name` of the module `module` in every folder of the package `group`, and those of other packages.

    Other packages use the entry point group named like the package, such as `expunge.kinds`.
    """
    places = importlib.import_module(group).__path__
    folders = [each.name for each in pkgutil.iter_modules(places) if each.ispkg]
    own = [reference(f"{group}.{folder}.{module}:{name}") for folder in folders]
    return own + [point.load() for point in entry_points(group=group)]
