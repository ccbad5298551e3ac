"""Distillation: a language model learns another one's outputs on the retain set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch

from expunge.kinds.language.distributions import Original
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.ops.divergences import row_divergence
from expunge.runs.method import Method, Needs
from expunge.train.callback import Callback, Report
from expunge.train.step import Loss, Step


class Distillation(Method):
    """KL(teacher || model), in nats a labelled token of the retain set."""

    needs: ClassVar[Needs] = Needs(forget=False, retain="always", retain_labels=False, kinds=("causal_lm",))
    signals = ("distributions",)

    def loss(self, step: Step) -> Loss:
        return Loss(retain=step.row_mean(step.retain, step.against_original(step.retain, row_divergence)))


def frozen(task: CausalLM) -> CausalLM:
    """A frozen copy of a model's current state."""
    copied = copy.deepcopy(task.model).eval().requires_grad_(False)
    return CausalLM(copied, task.tokenizer, task.autocast)


def taught(table: TokenTable, teacher: CausalLM) -> TokenTable:
    """The blocks with the teacher's outputs as their signal `distributions`, computed as each batch is drawn."""
    head = teacher.head.frozen()

    @torch.no_grad()
    def said(rows: Sequence[int]) -> Original:
        batch = table.batch(rows).to(teacher.device)
        with teacher.autocast():
            return Original(teacher.head_inputs(batch)[teacher.labelled(batch)], head)

    return table.with_signal("distributions", said)


class Recovered(Callback):
    """Ends a distillation with the first step whose loss is low enough."""

    def __init__(self, enough: float) -> None:
        self.enough = enough

    def after_step(self, report: Report) -> None:
        loss = report.figures["retain_loss"]
        if loss <= self.enough:
            report.stop = f"the model is within {loss:.4f} nats a token of its teacher"
