"""Topics in words: one, several, or those of a file with one name per line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from expunge.data.text.line_lists import entries, is_a_fact
from expunge.data.text.readers import how_lines_are_read
from expunge.data.text.targets import classify_target
from expunge.data.text.text_files import read_text_file
from expunge.errors import RecipeError
from expunge.kinds.language.recipe import Recipe

SHOWN = 6
"topics to name if all of them would be too many"


def with_listed_topics(recipe: Recipe) -> Recipe:
    """The recipe with the names of its lists as topics, if every target is a topic or a list of names.

    Together with files or datasets a list of names is text, as those are.

    Raises:
        RecipeError: `data.lines` is `names`, and a target cannot be a list of them.
        DataError: as `classify_target`.
    """
    asked = recipe.data.lines == "names"
    if recipe.forget_kind != "auto":
        if asked and recipe.forget_kind != "topic":
            raise RecipeError(
                "the lines of a list of names are topics, and there are other targets",
                seen=f"data.lines names, forget_kind {recipe.forget_kind}",
                next_step="leave one of the two out",
            )
        return recipe
    topics: list[str] = []
    files: list[str] = []
    for target in recipe.targets:
        path, kind = Path(target).expanduser(), classify_target(target)
        if kind == "topic":
            topics.append(target)
        elif kind == "path" and path.is_file() and how_lines_are_read(path, recipe.data.lines) == "names":
            topics += entries("".join(piece.text for piece in read_text_file(path)))
            files.append(path.name)
        elif asked:
            raise RecipeError(
                f"{target} is not a file whose lines could be names", next_step="leave --data.lines names out"
            )
        else:
            return recipe
    if not files:
        return recipe
    first, *others = dict.fromkeys(topics)
    update = {"forget": first, "forget_also": tuple(others), "forget_kind": "topic", "forget_list": tuple(files)}
    return recipe.model_copy(update=update)


def check_topics(topics: Sequence[str]) -> tuple[str, ...]:
    """Several topics of a run.

    Raises:
        RecipeError: one is empty, or named twice, upper case or lower.
    """
    plain = [" ".join(topic.split()).casefold() for topic in topics]
    twice = [topic for topic, form in zip(topics, plain, strict=True) if not form or plain.count(form) > 1]
    if twice:
        raise RecipeError("a topic is empty or named twice", seen=repr(twice[0]), next_step="name each once")
    return tuple(topics)


def shown(topics: Sequence[str]) -> str:
    """Topics in a sentence, the first few by name."""
    named = [f"{topic!r}" for topic in topics[:SHOWN]]
    return ", ".join(named) + (f" and {len(topics) - SHOWN} more" if len(topics) > SHOWN else "")


def how_read(recipe: Recipe) -> str:
    """A note on how a recipe's topics were given, for users who expected a file to be read."""
    if recipe.forget_list:
        files, count = ", ".join(recipe.forget_list), len(recipe.targets)
        return (
            f"{files}: one name per line, and each of the {count} is a topic that the model is asked about "
            "(--data.lines facts or text reads the lines themselves)"
        )
    if recipe.forget_also:
        return f"{shown(recipe.targets)} are taken for topics in words: no file, folder or dataset is read"
    said = f"{recipe.forget!r} is taken for a topic in words: no file, folder or dataset is read"
    if not is_a_fact(recipe.forget):
        return said
    return f"{said}; to forget the sentence itself, put it into a text file, and give the file as the target"
