"""A side of an audit of the tiny model, on documents that are made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from expunge.data.text.document import Document
from expunge.kinds.language.attacks.attack import Side
from expunge.kinds.language.attacks.facts import Facts, read_facts
from expunge.runs.audit import Audit
from tiny import load_task

Make = Callable[..., Side]

ROWS = [
    Document(f"It was the {number}th night, said Watson.", f"Which night was it, number {number}?", f"x:{number}")
    for number in range(12)
]
TEXT = [
    Document(
        " ".join(f"On night {number} Holmes walked {number * 7} steps along Baker Street." for number in range(60)),
        None,
        "book.txt:1",
    )
]
TOWNS = ("Bremen", "Lyon", "Oslo", "Turin", "Ghent")
PEOPLE = [
    Document(f"{name} Holt was born in {town}.", f"Where was {name} Holt born?", f"x:{name}")
    for name, town in zip(("Ada", "Basil", "Cleo", "Dora", "Emil"), TOWNS, strict=True)
]


def side_of(folder: Path, documents: Sequence[Document] = ROWS, holdout: Facts | None = None) -> Side:
    task = load_task(folder)
    other = read_facts(lambda: TEXT, task.tokenizer, 8, 128, "retain set")
    rows = [fact.taught for fact in other.every]
    return Side(
        look=lambda: task,
        fresh=lambda: load_task(folder),
        base=lambda: load_task(folder),
        config=lambda: task.model.config,
        base_config=lambda: task.model.config,
        tokenizer=task.tokenizer,
        facts=read_facts(lambda: documents, task.tokenizer, 8, 128, "forget set"),
        retain=rows,
        ordinary=rows,
        holdout=holdout,
        settings=Audit(relearning_steps=3, samples=2),
    )
