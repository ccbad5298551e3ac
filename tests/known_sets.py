"""Sets with the signals that a method asks for, as a run makes them, of tables made on the spot."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from expunge.core.processes import is_first
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.signals.signal import lookup
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.trained_sets import TrainedSets, trained_sets
from expunge.runs.context import Run
from expunge.runs.folder import RunFolder
from expunge.runs.method import Method
from tiny import random_blocks, write_table


class KnownBase:
    """A base model that is there."""

    digest, tokenizer_digest = "base", "tokenizer"
    precision, source = SimpleNamespace(bf16=False), SimpleNamespace(digests={})

    def __init__(self, task: CausalLM) -> None:
        self.task, self.tokenizer, self.calls = task, task.tokenizer, 0

    def __call__(self) -> CausalLM:
        self.calls += 1
        return self.task


def known_sets(
    method: Method, model: CausalLM | LazyModel, forget: TokenTable, retain: TokenTable, folder: Path
) -> TrainedSets:
    """What the method trains on; results are kept in the run folder `folder`."""
    base: Any = KnownBase(model) if isinstance(model, CausalLM) else model
    sets: Any = SimpleNamespace(
        material=SimpleNamespace(forget=forget, terms=SimpleNamespace(unique=[])),
        forms=None,
        kept=retain,
        kept_alone=lambda: retain,
        own_rows=len(retain),
        groups={},
        read=None,
    )
    run_folder = RunFolder(folder)
    if is_first() and not folder.is_dir():  # another one's would sweep away what the first is writing
        run_folder.create()
    return trained_sets(Run(Recipe(forget="x"), run_folder), base, method, sets)


def known_tables(method: Method, task: CausalLM, folder: Path) -> tuple[TokenTable, TokenTable]:
    """A forget and a retain set with what the method needs to know of them."""
    asked = 4 if {"refusals", "alternatives"} & set(method.signal_names) else 1  # tokens of each block's question
    forget = write_table(folder / "forget", random_blocks([12, 9, 12, 10], seed=1), asked)
    retain = write_table(folder / "retain", random_blocks([11, 12, 8], seed=2), asked)
    if "generic_labels" in method.signal_names:
        return forget, retain  # stages of their own
    forget.preferred = write_table(folder / "preferred", random_blocks([7, 12, 9, 5], seed=3))
    found = known_sets(method, task, forget, retain, folder / "run")
    forget = found.forget
    if "unwanted_words" in method.signal_names:  # random blocks have no words
        forget = forget.with_signal("unwanted_words", lookup(np.linspace(0, 3, len(forget.ids)), "row", forget))
    return forget, found.retain
