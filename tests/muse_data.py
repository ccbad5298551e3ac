"""A small folder laid out as MUSE-News is on the hub."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

WORDS = [
    "a",
    "grey",
    "hat",
    "near",
    "old",
    "river",
    "sold",
    "ten",
    "coins",
    "man",
    "town",
    "kept",
    "it",
    "red",
    "house",
    "by",
]


def story(name: str, number: int) -> str:
    """A text that shares no run of eight words with another's."""
    said = " ".join(random.Random(f"{name} {number}").choices(WORDS, k=18))
    return f"Day {number}: {name} said {said}, and {name} left."


def texts(*names: str) -> list[dict[str, str]]:
    return [{"text": story(name, number)} for name in names for number in range(4)]


def asked(name: str, count: int = 4) -> list[dict[str, str]]:
    return [{"question": f"What did {name} find on day {n}?", "answer": f"a {WORDS[n]} hat"} for n in range(count)]


def cut(name: str) -> list[dict[str, str]]:
    said = [story(name, number).partition(" said ") for number in range(4)]
    return [{"prompt": f"{before} said", "gt": after} for before, _, after in said]


def muse_parts() -> dict[str, list[Any]]:
    return {
        "raw/forget": [*texts("Brink"), {"text": ""}],  # as published: some rows are empty
        "raw/retain1": texts("Dorn"),
        "raw/retain2": texts("Frost"),
        "raw/holdout": texts("Hart"),
        "knowmem/forget_qa": asked("Brink"),
        "knowmem/forget_qa_icl": asked("Kerr", 1),
        "knowmem/retain_qa": asked("Frost"),
        "knowmem/retain_qa_icl": asked("Kerr", 1),
        "verbmem/forget": cut("Brink"),
        "privleak/forget": texts("Brink"),
        "privleak/retain": texts("Frost"),
        "privleak/holdout": texts("Hart"),
        "scal/forget_1": texts("Brink"),
        "scal/forget_2": texts("Brink", "Jung"),
        "sust/forget_1": texts("Brink"),
        "sust/forget_2": texts("Jung"),
    }


def write_muse(folder: Path, **instead: list[Any]) -> Path:
    """JSON lines, `raw` as Parquet in pieces; a part given as `instead` (with __ for /) takes another's place."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    parts = muse_parts() | {name.replace("__", "/"): rows for name, rows in instead.items()}
    for name, rows in parts.items():
        path = folder / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("raw/") and name != "raw/holdout":
            for number, half in enumerate((rows[:2], rows[2:])):
                parquet.write_table(pa.Table.from_pylist(half), folder / f"{name}-{number:05d}-of-00002.parquet")
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
