"""The base model's hidden states of the retain set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from expunge.core import storage
from expunge.kinds.language.signals.signal import Signal, Source, only, per_token
from expunge.kinds.language.token_dataset import Lookup


@dataclass(frozen=True)
class HiddenStates(Signal):
    """(tokens, width) float32: hidden states after so many layers, of every token that is no padding.

    They lie in a file as long as the whole table, of which only the blocks that training draws are written.
    """

    layer: int
    "how many layers are passed"

    name = "hidden_states"
    stage = "hidden"
    set = "retain"
    per = "token"
    doing = "computing the base model's hidden states on the retain set"

    def key(self, source: Source) -> dict[str, Any]:
        rows = storage.digest_value(list(source.rows))
        return source.key() | {"kept": source.table.folder.name, "rows": rows, "layer": self.layer}

    def make(self, source: Source, path: Path) -> None:
        task, table = source.base(), source.table
        states: np.memmap | None = None
        for number, row in enumerate(source.rows, 1):
            with torch.no_grad():
                found = task.hidden(table.batch([row]), self.layer)
            if states is None:
                states = np.memmap(path / "hidden.bin", np.float32, "w+", shape=(len(table.ids), found.shape[1]))
            states[table.starts[row] : table.ends[row]] = found.float().cpu().numpy()
            source.run.show.update(number / len(source.rows))
        assert states is not None
        states.flush()
        storage.write_json(path / "shape.json", list(states.shape))

    def lookup(self, source: Source, path: Path) -> Lookup:
        shape = tuple(storage.read_json(path / "shape.json"))
        states = np.memmap(path / "hidden.bin", np.float32, "r", shape=shape)
        return only(source.rows, per_token(states, source.table))
