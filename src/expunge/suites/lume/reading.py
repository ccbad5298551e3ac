"""LUME's files (Ramakrishna et al. 2025, arXiv:2502.15097; SemEval-2025 task 4): `forget` and `retain`.

Each document has two prompts: a passage to be completed (its id ends in sc and a number), and a question (qa).
"""

from __future__ import annotations

import re

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.suites.tofu.rows import Files, text_of
from expunge.suites.tofu.sets import QuestionSets, data_of, refuse_overlap

TASKS = {1: "synthetic novels", 2: "synthetic persons with their data", 3: "real biographies"}
ID = re.compile(r"(?P<document>.*)(?P<kind>sc|qa)\d+")


def read_lume(data: str, task: int | None = None, documents: int | None = None) -> QuestionSets:
    """The sets of LUME.

    Args:
        data: a folder with `forget` and `retain`, or the id of a Hugging Face dataset with these configurations.
        task: which of `TASKS`; all, if not given.
        documents: this many documents of each side, the first ones.

    Raises:
        DataError: a file, row or field is missing, empty, or on both sides.
        RecipeError: there is no such task.
    """
    if task is not None and task not in TASKS:
        raise RecipeError(
            "LUME has no such task",
            seen=task,
            allowed=", ".join(f"{number} ({what})" for number, what in TASKS.items()),
        )
    files = Files(data)
    forget, retain = (_rows(files, name, task, documents) for name in ("forget", "retain"))
    refuse_overlap([row for _, row in forget], [row for _, row in retain])
    measured = {}
    for side, rows in (("forget", forget), ("retain", retain)):
        for split, kind in ((side, "qa"), (f"{side}_completions", "sc")):
            measured[split] = tuple(row for of, row in rows if of == kind)
            if not measured[split]:
                raise DataError(
                    f"{data}/{side} has no rows of the kind {kind}",
                    seen=f"{len(rows)} rows",
                    next_step="give the file as it is published",
                )
    return QuestionSets(
        forget=tuple(row for _, row in forget),
        retain=tuple(row for _, row in retain),
        measured=measured,
        left_out=("forget quality, truth ratio and model utility are left out: LUME has no perturbed answers",),
    )


def questions(data: str | None, forget: str | None) -> QuestionSets:
    """The questions for any model, as in `Suite.questions`. Raises as `read_lume`."""
    return read_lume(data_of("lume", data, forget))


def _rows(files: Files, name: str, task: int | None, documents: int | None) -> list[tuple[str, Asked]]:
    """(kind, row) of the first documents."""
    found: list[tuple[str, Asked]] = []
    seen: dict[str, None] = {}
    for row in files.rows(name):
        matched = ID.fullmatch(text_of(row, "id"))
        if matched is None:
            raise DataError(
                f"{row[0]}: `id` is neither a completion nor a question",
                seen=repr(row[1]["id"])[:80],
                allowed="an id that ends in sc or qa, and a number",
            )
        asked = Asked(text_of(row, "input"), text_of(row, "output"), source=row[0])
        if task is not None and text_of(row, "task") != f"Task{task}":
            continue
        seen[matched["document"]] = None
        if documents is None or len(seen) <= documents:
            found.append((matched["kind"], asked))
    return found
