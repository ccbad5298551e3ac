"""KnowUnDo's files (Tian et al. 2024, arXiv:2407.01920): private data of persons to forget, and data to retain.

The model is taught all of them; methods are given only the training rows, and tested on the others, too.
"""

from __future__ import annotations

from expunge.errors import RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.suites.tofu.rows import Files, text_of
from expunge.suites.tofu.sets import QuestionSets, data_of, refuse_overlap

FILES = ("unlearn_train", "unlearn_val", "retention_train", "retention_val")


def read_knowundo(data: str, taught_rows: int | None = None) -> QuestionSets:
    """The sets of KnowUnDo.

    Args:
        data: a folder with `unlearn_train`, `unlearn_val`, `retention_train` and `retention_val`.
        taught_rows: approximate number in all, in the files' own proportion; the first ones of each file, which go
            through the persons one after the other.

    Raises:
        DataError: a file, row or field is missing, empty, or on both sides.
        RecipeError: there are not this many rows.
    """
    files = Files(data)

    def rows(name: str) -> tuple[Asked, ...]:
        return tuple(Asked(text_of(row, "text"), text_of(row, "labels"), source=row[0]) for row in files.rows(name))

    forget, more_forget, retain, more_retain = _first([rows(name) for name in FILES], taught_rows)
    refuse_overlap(forget + more_forget, retain + more_retain)
    return QuestionSets(
        forget=forget,
        retain=retain,
        more_forget=more_forget,
        more_retain=more_retain,
        measured={"forget": forget, "retain": retain, "forget_more": more_forget, "retain_more": more_retain},
        left_out=("forget quality, truth ratio and model utility are left out: KnowUnDo has no perturbed answers",),
    )


def _first(every: list[tuple[Asked, ...]], wanted: int | None) -> list[tuple[Asked, ...]]:
    """About this many rows in all: of each file the first ones, its share rounded down, at least one."""
    if wanted is None:
        return every
    there = sum(map(len, every))
    if not len(every) <= wanted <= there:
        raise RecipeError(
            "there are not this many rows",
            seen=f"taught rows {wanted}",
            allowed=f"{len(every)} to {there}: some of each file",
            next_step="leave --taught-rows out: all are taught",
        )
    return [rows[: max(1, len(rows) * wanted // there)] for rows in every]


def questions(data: str | None, forget: str | None) -> QuestionSets:
    """The questions for any model, as in `Suite.questions`. Raises as `read_knowundo`."""
    return read_knowundo(data_of("knowundo", data, forget))
