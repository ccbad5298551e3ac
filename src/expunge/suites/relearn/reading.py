"""Data of the suite: a generated world, TOFU, or the files of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from expunge.errors import RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.suites.tofu.command import as_recorded
from expunge.suites.tofu.reading import read_tofu
from expunge.suites.tofu.rows import Files, text_of
from expunge.suites.tofu.sets import QuestionSets, refuse_overlap
from expunge.suites.world.reading import read_world
from expunge.suites.world.settings import WORLD, World


def read_sets(
    data: str | None, forget: str | None, authors: int | None, world: World
) -> tuple[QuestionSets, Mapping[str, Any]]:
    """(the sets, the options that led to them, for the record).

    Args:
        data: None: the generated world. With `forget`, TOFU's folder; else one with `forget` and `retain`.

    Raises:
        RecipeError: options of another kind of data.
        DataError: a file, row or field is missing, empty, or on both sides.
    """
    if data is None:
        _refuse("a generated world is taught", "--data FOLDER", forget=forget, authors=authors)
        return read_world(world), {"data": "a generated world", **asdict(world)}
    if world != WORLD:
        given = {name: value for name, value in asdict(world).items() if value != getattr(WORLD, name)}
        _refuse(f"{data} is taught, and no generated world", "leave --data out", **given)
    if forget is not None:
        sets = read_tofu(data, forget, authors)
    else:
        _refuse(f"{data} is read as a folder with forget and retain", "--forget forget05", authors=authors)
        sets = read_folder(data)
    return sets, {"data": as_recorded(data), "forget": forget, "authors": authors}


def read_folder(data: str) -> QuestionSets:
    """The sets of a folder with `forget` and `retain`, as `expunge suite world --write` writes one.

    Raises:
        DataError: a file, row or field is missing, empty, or on both sides.
    """
    files = Files(data)

    def rows(name: str) -> tuple[Asked, ...]:
        return tuple(Asked(text_of(row, "question"), text_of(row, "answer"), source=row[0]) for row in files.rows(name))

    forget, retain = rows("forget"), rows("retain")
    refuse_overlap(forget, retain)
    return QuestionSets(forget=forget, retain=retain, measured={"forget": forget, "retain": retain})


def _refuse(why: str, next_step: str, **options: object) -> None:
    given = [f"--{name.replace('_', '-')} {value}" for name, value in options.items() if value is not None]
    if given:
        raise RecipeError(f"{why}, so {given[0]} has no effect", next_step=f"leave it out, or: {next_step}")
