"""TOFU's files (Maini et al. 2024, arXiv:2401.06121): `forget05`, `retain95`, `full`, perturbed versions, and the
rest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from expunge.errors import DataError, RecipeError
from expunge.kinds.language.measures.question_answers import Asked
from expunge.suites.tofu.rows import Files, Row, text_of, texts_of
from expunge.suites.tofu.sets import (
    QuestionSets,
    data_of,
    pair,
    refuse_other_version,
    refuse_overlap,
    same_number_of_perturbed,
)

AUTHOR = 20
"rows of an author; they stand together"
PERTURBED = 400
"retain rows that are asked, as many as the file of perturbed ones has"


def read_tofu(data: str, forget: str, authors: int | None = None) -> QuestionSets:
    """The sets of TOFU.

    Args:
        data: a folder with the files, or the id of the Hugging Face dataset.
        forget: `forget01`, `forget05`, `forget10`, or another share that there are files of.
        authors: how many there are in all, forgotten and kept in the set's own proportion; the first ones of each file.

    Raises:
        DataError: a file, row or field is missing or does not fit the others.
        RecipeError: `forget` is not such a name, or there are not this many authors.
    """
    files = Files(data)
    found = re.fullmatch(r"forget(\d\d)", forget)
    if found is None or not 0 < int(found[1]) < 100:
        able = [name for name in files.names if re.fullmatch(r"forget\d\d", name)]
        raise RecipeError(
            f"{forget} is not a forget set of TOFU", allowed=", ".join(able) or "forget01, forget05, forget10"
        )
    share = int(found[1])
    kept = f"retain{100 - share:02d}"
    taken, retain = _rows(files, forget), _rows(files, kept)
    refuse_overlap(taken, retain)
    if "full" in files.names:
        refuse_other_version([*taken, *retain], _rows(files, "full"), f"{data}/full")
        refuse_other_version(_rows(files, "full"), [*taken, *retain], f"{forget} or {kept}")
    if authors is not None:
        taken, retain = _authors(taken, retain, authors, share)
    measured, left_out = _measured(files, taken, retain, forget, kept)
    for name, rows in measured.items():
        if name != "holdout":
            same_number_of_perturbed(rows)
    return QuestionSets(
        forget=tuple(taken),
        retain=tuple(retain),
        measured={name: tuple(rows) for name, rows in measured.items()},
        left_out=tuple(left_out),
    )


def questions(data: str | None, forget: str | None) -> QuestionSets:
    """What any model is asked, as `Suite.questions` has it. Raises as `read_tofu`."""
    return read_tofu(data_of("tofu", data), forget or "forget05")


def _rows(files: Files, name: str) -> list[Asked]:
    return [_asked(row) for row in files.rows(name)]


def _asked(row: Row) -> Asked:
    where, fields = row
    paraphrased = text_of(row, "paraphrased_answer") if fields.get("paraphrased_answer") is not None else None
    return Asked(
        text_of(row, "question"), text_of(row, "answer"), paraphrased, texts_of(row, "perturbed_answer"), where
    )


def _measured(
    files: Files, taken: Sequence[Asked], retain: Sequence[Asked], forget: str, kept: str
) -> tuple[dict[str, list[Asked]], list[str]]:
    measured: dict[str, list[Asked]] = {}
    left_out: list[str] = []
    missing: list[str] = []
    for split, name, every, source in (
        ("forget", f"{forget}_perturbed", taken, forget),
        ("retain", "retain_perturbed", retain, kept),
    ):
        own = {pair(row) for row in every}
        if name in files.names:
            rows = _rows(files, name)
            refuse_other_version(rows, _rows(files, source), source)
            measured[split] = [row for row in rows if pair(row) in own]
        if name not in files.names or not measured[split]:
            measured[split] = list(every[:PERTURBED])
            missing.append(name)
    for split in ("real_authors", "world_facts"):
        there = next((each for each in (f"{split}_perturbed", split) if each in files.names), None)
        if there is not None:
            measured[split] = _rows(files, there)
        if there != f"{split}_perturbed":
            missing.append(f"{split}_perturbed")
    if f"{forget}_perturbed" in missing:
        left_out.append(
            f"truth ratio of the forget set and forget quality are left out: there is no {forget}_perturbed"
        )
    if others := [name for name in missing if name != f"{forget}_perturbed"]:
        left_out.append(f"model utility is left out: there is no {', '.join(others)}")
    holdout = forget.replace("forget", "holdout")
    if holdout in files.names:
        measured["holdout"] = _rows(files, holdout)
        refuse_overlap(measured["holdout"], [*taken, *retain], "held-out rows would be taught")
    else:
        left_out.append(f"PrivLeak is left out: there is no {holdout}, rows of authors that no model was taught")
    return measured, left_out


def _authors(
    taken: Sequence[Asked], retain: Sequence[Asked], authors: int, share: int
) -> tuple[list[Asked], list[Asked]]:
    """The first authors of both sets, in the proportion of the forget set, at least one of each."""
    for rows in (taken, retain):
        if len(rows) % AUTHOR:
            raise DataError(
                f"{rows[0].source.rpartition(':')[0]} does not hold whole authors",
                seen=f"{len(rows)} rows",
                allowed=f"{AUTHOR} rows an author, one author after another",
                next_step="leave --authors out",
            )
    most = (len(taken) + len(retain)) // AUTHOR
    if not 2 <= authors <= most:
        raise RecipeError(
            "there are not this many authors",
            seen=f"authors {authors}",
            allowed=f"2 to {most}: some are forgotten, some kept",
        )
    forgotten = min(max(1, round(authors * share / 100)), len(taken) // AUTHOR)
    return list(taken[: forgotten * AUTHOR]), list(retain[: (authors - forgotten) * AUTHOR])
