"""The names of a kind's attacks, read from its files: importing them takes seconds, and a misspelt name is reported
before."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from expunge.errors import RecipeError, did_you_mean
from expunge.runs.kind import Kind
from expunge.runs.plugins import entry_points

ATTACKS = "expunge.attacks"
"entry points by which other packages add attacks: subclasses of a kind's `Attack`"
SHARED = "expunge.runs.attacks"
"the folder of attacks that are the same for every kind"


def refuse_unknown(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Raise `RecipeError` for an unknown attack; it names the nearest."""
    for name in wanted:
        if name not in names:
            raise RecipeError(
                f"there is no attack {name!r}", allowed=", ".join(names), next_step=did_you_mean(name, names)
            )


def refuse_misspelt(wanted: Sequence[str], kinds: Sequence[Kind]) -> None:
    """The same before attacks are imported, as far as files show.

    The name of another package's attack is in its class: if there are such packages, or a kind whose attacks are not
    in a folder, nothing is refused here.

    Args:
        kinds: the possible kinds of the audited model.
    """
    names = [names_in_files(kind) for kind in kinds if kind.audit is not None]
    if names and not entry_points(group=ATTACKS) and all(names):
        refuse_unknown(wanted, list(dict.fromkeys(name for each in names for name in each)))


def names_in_files(kind: Kind) -> list[str]:
    """Names of the attacks in the folder `attacks` next to a kind's audit, and of those that all kinds share, each
    once; empty if there is no such folder."""
    package = (kind.audit or "").partition(":")[0].rpartition(".")[0]
    if not package or not (own := _folder(f"{package}.attacks")).is_dir():
        return []
    files = [file for folder in (own, _folder(SHARED)) for file in sorted(folder.glob("*.py"))]
    return list(dict.fromkeys(name for file in files for name in _names(file)))


def _folder(package: str) -> Path:
    parent, _, name = package.rpartition(".")
    return Path(next(iter(importlib.import_module(parent).__path__))) / name


def _names(file: Path) -> list[str]:
    """Names of the attacks in a file: its own classes', and those of classes imported from another kind's file."""
    own, imported = _read(file)
    taken = []
    for module, classes in imported.items():
        there = _folder(module).with_suffix(".py")
        taken += [name for each, name in _read(there)[0].items() if each in classes] if there.is_file() else []
    return [*own.values(), *taken]


@cache
def _read(file: Path) -> tuple[Mapping[str, str], Mapping[str, frozenset[str]]]:
    """(class -> its `name`; module of attacks -> the names imported from it)."""
    names: dict[str, str] = {}
    imported: dict[str, frozenset[str]] = {}
    for node in ast.parse(file.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            if given := [name for part in node.body if (name := _given_name(part)) is not None]:
                names[node.name] = given[-1]
        elif isinstance(node, ast.ImportFrom) and node.module and ".attacks." in node.module:
            imported[node.module] = frozenset(each.name for each in node.names)
    return names, imported


def _given_name(part: ast.stmt) -> str | None:
    """The value of `name = "..."` in a class."""
    if not isinstance(part, ast.Assign) or not isinstance(part.value, ast.Constant):
        return None
    named = any(isinstance(target, ast.Name) and target.id == "name" for target in part.targets)
    return part.value.value if named and isinstance(part.value.value, str) else None
