"""Turn a form into a recipe, and a recipe into a plan, before anything is started."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from expunge.core import storage
from expunge.errors import RecipeError

FIELDS = ("forget", "retain", "model", "method")
PLANNING = 300
"seconds after which a plan is given up"


def write_draft(path: Path, given: Mapping[str, str]) -> None:
    """Write the recipe of a form.

    Args:
        given: the form's fields; empty ones take their defaults.

    Raises:
        RecipeError: without a target, or with a field that does not fit.
    """
    # Recipes take longer to import than the rest of the app, and its start need not wait for them.
    from expunge.kinds.language.recipe import make_recipe
    from expunge.runs.registry import refuse_unknown

    content: dict[str, Any] = {name: given[name].strip() for name in FIELDS if given.get(name, "").strip()}
    if "forget" not in content:
        raise RecipeError("there is nothing to forget yet", next_step="name a topic, or a file or folder")
    if (method := content.get("method")) is not None:
        refuse_unknown(method)
        content["method"] = {"name": method}
    if given.get("topic"):
        content["forget_kind"] = "topic"
    write_recipe(path, make_recipe(content, {}).to_yaml())


def write_recipe(path: Path, text: str) -> None:
    """Write an edited recipe.

    Raises:
        RecipeError: it is not a recipe.
    """
    from expunge.runs.kinds import read_recipe

    with storage.storage_errors(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    edited = path.with_suffix(".edited.yaml")
    storage.write_text(edited, text)
    read_recipe(edited)
    edited.replace(path)


def plan_of(path: Path) -> dict[str, Any]:
    """The result of `expunge plan` for a recipe: {"plan": ...}, or {"error": in words}. It runs in a separate process,
    which frees its memory."""
    command = [sys.executable, "-m", "expunge", "plan", str(path), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PLANNING, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired:
        return {"error": "no plan: it took too long"}
    if done.returncode not in (0, 3):
        return {"error": done.stderr.strip()[-2000:] or "there is no plan"}
    return {"plan": json.loads(done.stdout), "fits": done.returncode == 0}
