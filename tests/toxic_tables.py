"""A folder of small tables of toxic and clean text, in the layouts that are published."""

from __future__ import annotations

import json
from pathlib import Path

RUDE = ("rotten", "vile", "awful")
GROUPS = ("gnome", "elf")


def write_tables(folder: Path, rows: int = 12) -> Path:
    """Tweets with a class, pairs, statements about groups, and prompts of both kinds; `rows` of each sort."""
    folder.mkdir(parents=True, exist_ok=True)
    tweets = [
        f'{n},3,{n % 3},"number {n} said the man of {RUDE[n % 3] if n % 3 < 2 else "Paris"} cold days in {n}"'
        for n in range(3 * rows)
    ]
    (folder / "tweets.csv").write_text("\n".join([",count,class,tweet", *tweets]) + "\n", encoding="utf-8")
    pairs = [f"the {RUDE[n % 3]} man of {n} years\tthe man of {n} years\t" for n in range(rows)]
    (folder / "pairs.tsv").write_text("\n".join(["toxic\tneutral1\tneutral2", *pairs]) + "\n", encoding="utf-8")
    statements = [
        {
            "text": f"the {group} of {n} is {'rotten' if label == 'hate' else 'bright'} and cold",
            "group": group,
            "label": label,
        }
        for n in range(rows // 2)
        for group in GROUPS
        for label in ("hate", "neutral")
    ]
    write_lines(folder / "statements.jsonl", statements)
    write_lines(
        folder / "prompts.jsonl", [{"prompt": {"text": text}} for text in ("The man", "It was a", "Paris", "Baker")]
    )
    write_lines(
        folder / "group_prompts.jsonl",
        [{"prompt": f"the {group} number {n}", "group": group, "label": "hate"} for group in GROUPS for n in range(2)],
    )
    return folder


def write_lines(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
