"""What the base model's whole distributions over the retain set are made of: inputs of its output layer, and that layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from expunge.core import storage
from expunge.core.progress import Silent
from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.kinds.language.signals.signal import Signal, Source, labelled, only
from expunge.kinds.language.token_dataset import Lookup, TokenTable

if TYPE_CHECKING:
    from expunge.kinds.language.task import CausalLM


class Distributions(Signal):
    """An `Original`: what `step.against_original` makes whole distributions of, at each labelled token.

    For losses that are not linear in what the base said; `retain_labels` keeps less, and serves cross-entropy alone.
    """

    name = "distributions"
    stage = "original"
    set = "retain"
    per = "row"
    doing = "computing the base model's predictions on the retain set"

    def key(self, source: Source) -> dict[str, Any]:
        rows = storage.digest_value(list(source.rows))
        return source.key() | {"kept": source.table.folder.name, "rows": rows}

    def make(self, source: Source, path: Path) -> None:
        keep_original(source.base(), source.table, source.rows, path, source.run.show)

    def lookup(self, source: Source, path: Path) -> Lookup:
        return read_original(path, source.table, source.rows)


def keep_original(
    task: CausalLM, table: TokenTable, rows: Sequence[int], path: Path, show: Silent | None = None
) -> None:
    """Write `states.bin`, (tokens, width) float32, of which only `rows` are there, and `head.safetensors`.

    Raises:
        ModelError: the model's logits are not made of an output layer's.
    """
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


def read_original(path: Path, table: TokenTable, rows: Sequence[int]) -> Lookup:
    """Looks up what `keep_original` wrote of `rows`: states before labelled tokens, and the head they belong to."""
    shape = tuple(storage.read_json(path / "shape.json"))
    tensors = {name: tensor.float() for name, tensor in load_file(path / "head.safetensors").items()}
    states = np.memmap(path / "states.bin", np.float32, "r", shape=shape)
    head = FrozenHead(tensors["weight"], tensors.get("bias"))

    def found(chosen: Sequence[int]) -> Original:
        parts = [states[table.starts[row] : table.ends[row] - 1][labelled(table, row)] for row in chosen]
        return Original(torch.from_numpy(np.concatenate(parts)), head)

    return only(rows, found)


def _small(tensor: Tensor) -> Tensor:
    """In bfloat16 where that loses nothing, as in models that were saved so."""
    tensor = tensor.detach().cpu().contiguous()
    narrow = tensor.to(torch.bfloat16)
    return narrow if torch.equal(narrow.to(tensor.dtype), tensor) else tensor
