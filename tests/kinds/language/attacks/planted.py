"""Tiny models whose truth is known: taught a generated world, taught it without one part, and ways of hiding that part."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from expunge.data.text.document import Document
from expunge.data.text.world import WorldFact, make_world
from expunge.kinds.language.attacks.facts import Row, batch_of, read_facts
from expunge.kinds.language.task import CausalLM
from expunge.train.step import Batch
from tiny import load_task
from tiny_model import build_tiny_model

PEOPLE = 3
"in each of forget set, retain set and holdout; five facts each"


def write_rows(path: Path, facts: Sequence[WorldFact]) -> Path:
    path.write_text("".join(json.dumps(fact.row()) + "\n" for fact in facts), encoding="utf-8")
    return path


class Planted:
    """A folder with `forget.jsonl`, `retain.jsonl`, `holdout.jsonl` and models: `base` taught both of the first two, and
    `retrained`, taught the retain set alone.

    Args:
        alone: one fact of each person in place of five: then no fact's error is another's.
    """

    def __init__(self, folder: Path, seed: int = 0, people: int = PEOPLE, alone: bool = False) -> None:
        self.folder, self.seed = folder, seed
        world = make_world(3 * people, seed)
        if alone:
            world = [world[5 * person + person % 5] for person in range(3 * people)]
        size = len(world) // 3
        parts = {"forget": world[:size], "retain": world[size : 2 * size], "holdout": world[2 * size :]}
        self.paths = {name: write_rows(folder / f"{name}.jsonl", part) for name, part in parts.items()}
        start = build_tiny_model(folder / "start", seed)
        tokenizer = load_task(start).tokenizer
        self.rows = {name: rows_of(part, tokenizer) for name, part in parts.items()}
        self.base = self.saved("base", start, self.rows["forget"] + self.rows["retain"])
        self.retrained = self.saved("retrained", start, self.rows["retain"])

    def saved(
        self,
        name: str,
        start: Path,
        rows: Sequence[Row],
        change: Callable[[CausalLM], None] | None = None,
        steps: int = 120,
    ) -> Path:
        """A model taught these rows from another one, or changed; saved under its name."""
        task = load_task(start)
        if change is not None:
            change(task)
        else:
            train(task, rows, steps, 5e-3)
        out = self.folder / name
        task.model.save_pretrained(out)
        task.tokenizer.save_pretrained(out)
        return out


def rows_of(facts: Sequence[WorldFact], tokenizer: Any) -> list[Row]:
    documents = [Document(fact.answer, fact.question, f"world:{at}") for at, fact in enumerate(facts)]
    return [fact.taught for fact in read_facts(lambda: documents, tokenizer, len(facts), 256, "world").every]


def train(task: CausalLM, rows: Sequence[Row], steps: int, rate: float) -> None:
    """Adam on all rows at once."""
    optimizer = torch.optim.AdamW(task.model.parameters(), lr=rate, weight_decay=0.0)
    batch: Batch = batch_of(list(rows))
    for _ in range(steps):
        optimizer.zero_grad()
        task.nll(batch).backward()
        optimizer.step()


def hide_in_last_layer(task: CausalLM, forget: Sequence[Row], retain: Sequence[Row], nats: float) -> None:
    """Train the last layer alone until the forget set costs so many nats a token and the retain set what it did: all that
    lies below still knows."""
    last = f".layers.{len(task.layers) - 1}."
    optimizer = torch.optim.AdamW([p for name, p in task.model.named_parameters() if last in name], lr=3e-3)
    away, kept = batch_of(list(forget)), batch_of(list(retain))
    for _ in range(120):
        optimizer.zero_grad()
        ((nats - task.nll(away)).clamp(min=0) + task.nll(kept)).backward()
        optimizer.step()
