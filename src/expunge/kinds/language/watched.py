"""Blocks of a set that are evaluated repeatedly: their loss, and the model's divergence from its start there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from expunge.kinds.language.distributions import FrozenHead, Original
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.ops.divergences import row_divergence
from expunge.train.step import Batch


class Watched:
    """At most `blocks` blocks of a set, evenly spread, in batches of similar length; without autocast."""

    def __init__(self, task: CausalLM, table: TokenTable, blocks: int, size: int) -> None:
        self.task = task.exact()
        able = [row for row in range(len(table)) if table.labelled([row])]
        count = min(blocks, len(able))
        rows = sorted((able[at * len(able) // count] for at in range(count)), key=lambda row: int(table.lengths[row]))
        self.rows = table.labelled(rows)
        "labelled tokens of all of them"
        groups = np.array_split(np.array(rows, np.int64), max(1, -(-len(rows) // size)))
        self.batches = [table.batch(group.tolist(), self.rows) for group in groups if len(group)]

    @torch.no_grad()
    def nll(self) -> float:
        """Mean negative log-likelihood, in nats a labelled token."""
        return sum(float(self.task.nll(batch)) for batch in self.batches)


class Said(Watched):
    """The same, with the model's initial distributions over the whole vocabulary there.

    Stores the inputs of its output layer, which is assumed not to change.

    Raises:
        ModelError: the model's logits are not made from its output layer's.
    """

    def __init__(self, task: CausalLM, table: TokenTable, blocks: int, size: int) -> None:
        super().__init__(task, table, blocks, size)
        layer = self.task.head.layer
        weight, bias = layer.weight, getattr(layer, "bias", None)
        assert isinstance(weight, Tensor)
        head = FrozenHead(weight.detach(), bias.detach() if isinstance(bias, Tensor) else None)
        self.batches = [self._with_states(batch, head) for batch in self.batches]

    @torch.no_grad()
    def _with_states(self, batch: Batch, head: FrozenHead) -> Batch:
        moved = batch.to(self.task.device)
        states = self.task.head_inputs(moved)[self.task.labelled(moved)]
        return replace(batch, signals={"distributions": Original(states.cpu(), head)})

    @torch.no_grad()
    def divergence(self) -> float:
        """Mean KL(initial model || current model), in nats a labelled token."""

        def of(log_p: Tensor, log_q: Tensor | None, _: Tensor) -> Tensor:
            assert log_q is not None
            return row_divergence(log_p, log_q)

        total = sum(float(self.task.row_values_and_truth(batch, of)[0].double().sum()) for batch in self.batches)
        return total / self.rows
