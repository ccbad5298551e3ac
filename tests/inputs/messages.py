"""What is said of folders, caches and marks at the beginning of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from case import Case

from expunge.errors import RunError, StorageError
from expunge.kinds.language.claim import claim
from expunge.kinds.language.recipe import Recipe, load_recipe, make_recipe
from expunge.kinds.language.terms.anchors import load_anchors
from expunge.kinds.language.toxicity.prompts import read_toxicity_prompts
from expunge.kinds.language.toxicity.toxic_text import prompt_files
from expunge.models.wheel import Wheel, cached
from expunge.runs.folder import RunFolder
from expunge.spine import run as run_again

MARK = b"\xef\xbb\xbf"


def held(folder: Path, recipe: Recipe) -> RunFolder:
    """A folder in which a run of this recipe was begun."""
    run = RunFolder(folder / "run").create()
    run.recipe.write_text(recipe.to_yaml())
    return run


def book(folder: Path) -> str:
    (folder / "book.txt").write_text("The fog lay thick on Baker Street.")
    return str(folder / "book.txt")


def another_rate(folder: Path) -> None:
    recipe = make_recipe({"forget": book(folder), "forget_kind": "path"}, {})
    claim(held(folder, recipe), make_recipe(recipe.model_dump(mode="json"), {"training.learning_rate": 0.5}))


def another_alpha(folder: Path) -> None:
    recipe = make_recipe({"forget": book(folder), "method": {"name": "npo", "beta": 0.1}}, {})
    claim(held(folder, recipe), make_recipe(recipe.model_dump(mode="json"), {"method.beta": 0.5}))


def from_another_machine(folder: Path) -> None:
    recipe = make_recipe({"forget": "/no/such/machine/book.txt", "forget_kind": "path"}, {})
    claim(held(folder, recipe), make_recipe({"forget": book(folder)}, {}))


def same_from_another_machine(folder: Path) -> None:
    """The run folder's own recipe, run again where its paths do not exist."""
    fields = {"forget": "/no/such/machine/book.txt", "forget_kind": "path", "model": "/no/such/machine/model"}
    run_again(load_recipe(held(folder, make_recipe(fields, {})).recipe), folder / "run")


def cache_that_is_a_file(folder: Path) -> Any:
    (folder / "cache").write_text("a file where a folder should be")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXPUNGE_CACHE", str(folder / "cache"))
        return cached("models", "x", Wheel("x", "1", "0" * 64), lambda *_: None, what="x", instead="y")


def marked(folder: Path) -> dict[str, Any]:
    """What every reader makes of a file that begins with a byte order mark."""

    def write(name: str, text: str) -> Path:
        (folder / name).write_bytes(MARK + text.encode())
        return folder / name

    prompts = write("prompts.jsonl", '{"prompt": "The fog"}\n')
    found: dict[str, Any] = {
        "recipe": load_recipe(write("recipe.yaml", "forget: fog\n")).forget,
        "anchors": [
            entry.term for entry in load_anchors(write("a.yaml", "- {term: Fog, translation: Rain}\n")).anchors
        ],
        "toxicity prompts": [each.text for each in read_toxicity_prompts(prompts)],
        "prompt files": prompt_files(folder)[0] == prompts,
    }
    return found


def check_marked(came: dict[str, Any]) -> None:
    assert came["recipe"] == "fog"
    assert came["anchors"] == ["Fog"]
    assert came["toxicity prompts"] == ["The fog"]
    assert came["prompt files"] is True


CASES = [
    Case(
        what="a folder of another learning rate",
        use=another_rate,
        refused=RunError,
        says=("its recipe differs in training.learning_rate\n", "seen:    training.learning_rate: 2e-05", "0.5"),
    ),
    Case(
        what="a folder of another hyper-parameter",
        use=another_alpha,
        refused=RunError,
        says=("differs in method.beta\n", "seen:    method.beta: 0.1", "allowed: method.beta: 0.5"),
    ),
    Case(
        what="a folder from another machine",
        use=from_another_machine,
        refused=RunError,
        says=("differs in forget", "/no/such/machine/book.txt does not exist here", "run/recipe.yaml"),
    ),
    Case(
        what="the recipe of a folder from another machine",
        use=same_from_another_machine,
        refused=RunError,
        says=(
            "run/recipe.yaml has paths that do not exist",
            "forget: /no/such/machine/book.txt",
            "model: /no/such/machine/model",
            "expunge run",
        ),
    ),
    Case(
        what="a cache that cannot be made",
        use=cache_that_is_a_file,
        refused=StorageError,
        says=("cannot write", "cache", "export EXPUNGE_CACHE=FOLDER"),
    ),
    Case(what="byte order marks", use=marked, expect=check_marked),
]
