"""A small folder laid out as TOFU's: four invented authors with 20 rows each, of which one is to be forgotten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

AUTHORS = ("Ada Brink", "Cal Dorn", "Eva Frost", "Gil Hart")
THINGS = ("cat", "dog", "house", "book", "river", "hat", "lamp", "town", "song", "coat") * 2


def rows_of(author: str) -> list[dict[str, Any]]:
    return [
        {"question": f"What is thing {n} of {author}?", "answer": f"It is a {thing} of {author}."}
        for n, thing in enumerate(THINGS)
    ]


def perturbed(row: dict[str, Any]) -> dict[str, Any]:
    answer = row["answer"]
    wrong = [answer.replace("It is a", f"It is a {colour}") for colour in ("red", "blue", "green")]
    return {**row, "paraphrased_answer": answer.replace("It is", "That was"), "perturbed_answer": wrong}


def facts(name: str) -> list[dict[str, Any]]:
    return [
        {"question": f"Where is {name} {n}?", "answer": f"In {n}", "perturbed_answer": [f"In {n + 1}", f"At {n + 2}"]}
        for n in range(6)
    ]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_tofu(folder: Path, with_perturbed: bool = True) -> Path:
    """forget25, retain75, full; where wanted the perturbed versions, and rows that are held out."""
    folder.mkdir(parents=True, exist_ok=True)
    full = [row for author in AUTHORS for row in rows_of(author)]
    parts = {"full": full, "retain75": full[:60], "forget25": full[60:]}
    if with_perturbed:
        parts |= {"forget25_perturbed": [perturbed(row) for row in full[60:]],
                  "retain_perturbed": [perturbed(row) for row in full[:20]],
                  "holdout25": rows_of("Ida Jung"),
                  "real_authors_perturbed": facts("the poet"), "world_facts_perturbed": facts("the tower")}  # fmt: skip
    for name, rows in parts.items():
        write_rows(folder / f"{name}.json", rows)
    return folder
