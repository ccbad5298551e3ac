"""The names of a kind's attacks, read off its files: importing them takes seconds, and a misspelt name is told before."""

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
"entry points by which other packages add attacks: classes on top of a kind's `Attack`"
SHARED = "expunge.runs.attacks"
"the folder of attacks that are the same for every kind"


def refuse_unknown(wanted: Sequence[str], names: Sequence[str]) -> None:
    """Raise `RecipeError` where an attack is asked for that there is not; it names the nearest."""
    for name in wanted:
        if name not in names:
            raise RecipeError(
                f"there is no attack {name!r}", allowed=", ".join(names), next_step=did_you_mean(name, names)
            )


def refuse_misspelt(wanted: Sequence[str], kinds: Sequence[Kind]) -> None:
    """The same before attacks are imported, as far as files tell.

    What another package calls its attack stands in its class: where there are such packages, or a kind whose attacks are not
    in a folder, nothing is refused here.

    Args:
        kinds: those that the audited model may be of.
    """
    names = [names_in_files(kind) for kind in kinds if kind.audit is not None]
    if names and not entry_points(group=ATTACKS) and all(names):
        refuse_unknown(wanted, list(dict.fromkeys(name for each in names for name in each)))


def names_in_files(kind: Kind) -> list[str]:
    """Of the attacks in the folder `attacks` beside a kind's audit, and of those that all kinds share, each once; empty where
    there is no such folder."""
    package = (kind.audit or "").partition(":")[0].rpartition(".")[0]
    if not package or not (own := _folder(f"{package}.attacks")).is_dir():
        return []
    files = [file for folder in (own, _folder(SHARED)) for file in sorted(folder.glob("*.py"))]
    return list(dict.fromkeys(name for file in files for name in _names(file)))


def _folder(package: str) -> Path:
    parent, _, name = package.rpartition(".")
    return Path(next(iter(importlib.import_module(parent).__path__))) / name


def _names(file: Path) -> list[str]:
    """Of the attacks in a file: its own classes', and those of the classes that it takes over from another kind's file."""
    own, imported = _read(file)
    taken = []
    for module, classes in imported.items():
        there = _folder(module).with_suffix(".py")
        taken += [name for each, name in _read(there)[0].items() if each in classes] if there.is_file() else []
    return [*own.values(), *taken]


@cache
def _read(file: Path) -> tuple[Mapping[str, str], Mapping[str, frozenset[str]]]:
    """(class -> the `name` that it gives itself; module of attacks -> what is imported from it)."""
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
    """What `name = "..."` in a class gives it."""
    if not isinstance(part, ast.Assign) or not isinstance(part.value, ast.Constant):
        return None
    named = any(isinstance(target, ast.Name) and target.id == "name" for target in part.targets)
    return part.value.value if named and isinstance(part.value.value, str) else None
