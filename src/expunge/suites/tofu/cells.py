"""The cells of a suite: one run per method and seed, each an ordinary run folder, unlearned and then asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.errors import DivergedError, RecipeError, UnchangedError
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.story import LanguageStory
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.recipe import make
from expunge.runs.registry import make_method, working_on
from expunge.suites.tofu.suite import CELLS

SETTINGS = "settings.yaml"
"methods' settings in the suites of questions, next to this file"


@dataclass(frozen=True, slots=True)
class Cell:
    """One model that a method makes.

    Attributes:
        method, seed: of the model.
        group: the method and a digest of its settings: other settings are another group.
        recipe: of the run.
        path: its folder.
    """

    method: str
    seed: int
    group: str
    recipe: Recipe
    path: Path

    @property
    def name(self) -> str:
        return f"{self.group}-{self.seed}"


def wanted_methods(names: str, tuned: bool = True) -> dict[str, dict[str, Any]]:
    """Methods with their settings: {name: {"method": {...}, "training": {...}}}.

    Args:
        names: `all`, or names separated by commas.
        tuned: use the settings that did best on TOFU, instead of their defaults.

    Raises:
        RecipeError: a name that is not a method for language models.
    """
    able = working_on("causal_lm")
    wanted = able if names == "all" else list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    if not wanted:
        raise RecipeError("no method is named", seen=repr(names), allowed="all, or names separated by commas")
    tried = tuned_settings() if tuned else {}
    found = {}
    for name in wanted:
        own = tried.get(name) or {}
        found[name] = {"method": {"name": name, **own.get("method", {})}, "training": own.get("training", {})}
        make_method(found[name]["method"], "causal_lm")
    return found


def tuned_settings() -> dict[str, dict[str, Any]]:
    """The settings of the methods that a published grid tuned: {name: {"method": {...}, "training": {...}}}."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(
        (files("expunge.suites.tofu") / SETTINGS).read_text(encoding="utf-8")
    )
    return found


def is_tuned(name: str, settings: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether a method was run with the settings that the grid found best for it: options may have changed them."""
    own = tuned_settings().get(name)
    return own is not None and all(
        settings[part].get(key) == value for part, values in own.items() for key, value in values.items()
    )


def cells_of(
    folder: Path,
    content: Mapping[str, Any],
    methods: Mapping[str, Mapping[str, Any]],
    overrides: Mapping[str, Any],
    seeds: int,
) -> list[Cell]:
    """All cells, the first seed of each method first.

    Args:
        content: what their recipes have in common.
        overrides: dotted fields that hold for all methods.
    """
    cells = []
    for seed in range(seeds):
        for name, settings in methods.items():
            own = {"method": settings["method"], "training": settings["training"], "seed": seed}
            recipe = make(Recipe, {**content, **own}, overrides, where="options")
            said = recipe.model_dump(mode="json", include={"method", "training", "reinforcement", "anchors", "data"})
            group = f"{name}-{storage.digest_value(said)[:8]}"
            cells.append(Cell(name, seed, group, recipe, folder / CELLS / group / str(seed)))
    return cells


def unlearn_cell(cell: Cell, all_methods: bool, show: Silent) -> dict[str, Any]:
    """Run a cell up to its model; return the cost, or why there is none.

    Args:
        all_methods: leave out a method that cannot run here; else it is an error.

    Raises:
        ExpungeError: errors that end any run, except a training that diverged or changed nothing.
    """
    folder = RunFolder(cell.path)
    try:
        story = LanguageStory(Run(cell.recipe, folder, show))
        folder.refuse_base(story.base_folder())
        with folder.held():
            story.read()
            trained = story.unlearn()
    except (DivergedError, UnchangedError) as error:
        return {"failed": error.what}
    except RecipeError as error:
        if not all_methods:
            raise
        return {"failed": f"left out: {error.what}"}
    return {"failed": "", **{name: trained[name] for name in ("steps", "seconds", "tokens", "stopped", "warning")}}
