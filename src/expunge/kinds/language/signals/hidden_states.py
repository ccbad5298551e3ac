"""The base model's hidden states of the retain set, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from expunge.core import storage
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.signals.reference_labels import drawn_rows
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.context import Run
from expunge.runs.method import Method


def hidden_states(
    run: Run[Recipe],
    base: LazyModel,
    method: Method,
    forget: TokenTable,
    retain: TokenTable,
) -> TokenTable:
    """`retain` with the hidden states of its blocks after the method's `layer`, as the base has them.

    They lie in a file as long as the whole table, of which only the blocks that training draws are written.
    """
    rows = drawn_rows(method, run.recipe.training, forget, retain, run.recipe.seed)
    layer = int(getattr(method, "layer"))  # noqa: B009 - of the methods that declare `hidden`
    total = len(retain.ids)

    def make(path: Path) -> None:
        task = base()
        states: np.memmap | None = None
        for number, row in enumerate(rows, 1):
            with torch.no_grad():
                found = task.hidden(retain.batch([row]), layer)
            if states is None:
                states = np.memmap(path / "hidden.bin", np.float32, "w+", shape=(total, found.shape[1]))
            states[retain.starts[row] : retain.ends[row]] = found.float().cpu().numpy()
            run.show.update(number / len(rows))
        assert states is not None
        states.flush()
        storage.write_json(path / "shape.json", list(states.shape))

    made_from = {
        "model": base.digest,
        "kept": retain.folder.name,
        "rows": storage.digest_value(rows),
        "layer": layer,
        "bf16": base.precision.bf16,
    }
    path = run.cached("hidden", made_from, make, "noting the base model's hidden states of what is kept")
    shape = tuple(storage.read_json(path / "shape.json"))
    known = retain.take(range(len(retain)))
    known.hidden = np.memmap(path / "hidden.bin", np.float32, "r", shape=shape)
    return known
