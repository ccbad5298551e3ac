"""What the base model's whole distributions over the retain set are made of, kept once: hidden states, and its head."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.kinds.language.distributions import FrozenHead
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.signals.reference_labels import drawn_rows
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import KeptOriginal, TokenTable
from expunge.runs.context import Run
from expunge.runs.method import Method


def with_original(
    run: Run[Recipe],
    base: LazyModel,
    method: Method,
    forget: TokenTable,
    retain: TokenTable,
) -> TokenTable:
    """`retain` with what the base model's distributions are made of, in the blocks that training draws.

    For losses that are not linear in what the base said; `reference_labels` keeps less, and serves cross-entropy alone.

    Raises:
        ModelError: the model's logits are not made of an output layer's.
    """
    rows = drawn_rows(method, run.recipe.training, forget, retain, run.recipe.seed)

    def make(path: Path) -> None:
        keep_original(base(), retain, rows, path, run.show)

    made_from = {
        "model": base.digest,
        "kept": retain.folder.name,
        "rows": storage.digest_value(rows),
        "bf16": base.precision.bf16,
    }
    return read_original(
        run.cached("original", made_from, make, "noting what the base model says of what is kept"), retain, rows
    )


def keep_original(task: CausalLM, table: TokenTable, rows: list[int], path: Path, show: Silent | None = None) -> None:
    """Write `states.bin`, (tokens, width) float32, of which only `rows` are there, and `head.safetensors`."""
    head = task.head.frozen()
    total, width = len(table.ids), head.weight.shape[1]
    path.mkdir(parents=True, exist_ok=True)
    states = np.memmap(path / "states.bin", np.float32, "w+", shape=(total, width))
    for number, row in enumerate(rows, 1):
        batch = table.batch([row]).to(task.device)
        with torch.no_grad(), task.autocast():
            found = task.head_inputs(batch)[0]
        states[table.starts[row] : table.ends[row]] = found.float().cpu().numpy()
        if show is not None:
            show.update(number / len(rows))
    states.flush()
    tensors = {"weight": head.weight} | ({} if head.bias is None else {"bias": head.bias})
    save_file({name: _small(tensor) for name, tensor in tensors.items()}, path / "head.safetensors")
    storage.write_json(path / "shape.json", [total, width])


def read_original(path: Path, table: TokenTable, rows: list[int]) -> TokenTable:
    """`table` with what `keep_original` wrote of `rows`; any other row in a batch is a `KeyError`."""
    shape = tuple(storage.read_json(path / "shape.json"))
    tensors = {name: tensor.float() for name, tensor in load_file(path / "head.safetensors").items()}
    known = table.take(range(len(table)))
    known.original = KeptOriginal(
        np.memmap(path / "states.bin", np.float32, "r", shape=shape),
        FrozenHead(tensors["weight"], tensors.get("bias")),
        frozenset(int(table.starts[row]) for row in rows),
    )
    return known


def _small(tensor: Tensor) -> Tensor:
    """In bfloat16 where that loses nothing, as in models that were saved so."""
    tensor = tensor.detach().cpu().contiguous()
    narrow = tensor.to(torch.bfloat16)
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor
