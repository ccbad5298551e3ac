"""What many tests need: the tiny model as a task, and token tables made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.train.step import IGNORED, Batch


def load_task(folder: Path, dtype: torch.dtype = torch.float32) -> CausalLM:
    """A fresh copy of a saved model, in evaluation mode."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()
    return CausalLM(model, AutoTokenizer.from_pretrained(folder))


def random_blocks(lengths: Sequence[int], vocabulary: int = 200, seed: int = 0) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(3, vocabulary, length).tolist() for length in lengths]


def write_table(folder: Path, blocks: Sequence[Sequence[int]], first_label: int = 1) -> TokenTable:
    """A table of blocks whose tokens from `first_label` on are labelled with themselves."""
    with TableWriter(folder) as table:
        for ids in blocks:
            table.append(ids, [IGNORED] * first_label + list(ids[first_label:]))
    return TokenTable(folder)


def make_batch(blocks: Sequence[Sequence[int]], first_label: int = 1, padding: int = 0) -> Batch:
    """Blocks padded on the right with token `padding`; the normaliser is the number of labels."""
    width = max(map(len, blocks))
    ids = torch.full((len(blocks), width), padding)
    labels = torch.full((len(blocks), width), IGNORED)
    for row, block in enumerate(blocks):
        ids[row, : len(block)] = torch.tensor(list(block))
        labels[row, first_label : len(block)] = ids[row, first_label : len(block)]
    lengths = torch.tensor([len(block) for block in blocks])
    return Batch(ids=ids, labels=labels, lengths=lengths, normaliser=float((labels != IGNORED).sum()))


def ignore_log(event: str, **values: object) -> None:
    """A log that keeps nothing."""


def again(work: LanguageWork, model: Path, name: str, **changes: Any) -> LanguageWork:
    """The same work on the model once more as it is stored, with checkpoints of its own."""
    return replace(work, task=load_task(model), trained=[], checkpoints=work.checkpoints / name, **changes)
