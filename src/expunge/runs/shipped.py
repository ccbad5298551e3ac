"""The recipes that come with expunge, which are found by name: `expunge run demo`."""

from __future__ import annotations

from pathlib import Path

from expunge.errors import RecipeError, nearest

FOLDER = Path(__file__).parents[1] / "recipes"


def shipped() -> dict[str, Path]:
    """The file of every recipe that comes with expunge, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.yaml"))}


def find_recipe(named: Path) -> Path:
    """The file that a user means: a path, or the name of a recipe that comes with expunge. A path that is a file wins.

    Raises:
        RecipeError: there is neither.
    """
    known = shipped()
    if named.is_file() or (named.exists() and str(named) not in known):
        return named  # of what is there and is not a file, reading says what it is
    if str(named) in known:
        return known[str(named)]
    near = nearest(named.stem, known)
    raise RecipeError(
        f"there is no recipe {named}",
        allowed=f"a YAML file, or one of {', '.join(known)}",
        next_step=f"did you mean {near}?" if near else "`expunge recipes` says what each of these is for",
    )


def first_sentence(path: Path) -> str:
    """What a recipe is for: the comment on its first line."""
    with open(path, encoding="utf-8") as file:
        return file.readline().removeprefix("#").strip()
