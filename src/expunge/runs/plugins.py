"""What is found, not listed: one folder each in a package of expunge, or an entry point of another package."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from typing import Any


def reference(text: str) -> Any:
    """The object that `module:name` stands for."""
    module, _, name = text.partition(":")
    return getattr(importlib.import_module(module), name)


def found_in(group: str, module: str, name: str) -> list[Any]:
    """`name` of the module `module` in every folder of the package `group`, and what other packages offer.

    Other packages use the entry point group that is called like the package, such as `expunge.kinds`.
    """
    places = importlib.import_module(group).__path__
    folders = [each.name for each in pkgutil.iter_modules(places) if each.ispkg]
    own = [reference(f"{group}.{folder}.{module}:{name}") for folder in folders]
    return own + [point.load() for point in entry_points(group=group)]
