"""Unlearning under a limit: a dual variable weighs the retain loss, and moves with it from step to step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.training import UNLEARNING
from expunge.runs.method import Method, Needs
from expunge.train.callback import Callback, Report
from expunge.train.step import Loss, Step

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork

BLOCKS = 64
"blocks of the retain set, evenly spread, on which the base model's loss is measured"


class DualVariable(Callback):
    """The weight of the retain loss: max(0, value + rate * (retain loss - limit)) after each step once the warm-up is
    over."""

    name = "dual"

    def __init__(self, value: float, limit: float, rate: float, warmup: float) -> None:
        self.value, self.limit, self.rate, self.warmup = value, limit, rate, warmup

    def after_step(self, report: Report) -> None:
        if report.step > self.warmup * report.steps:
            excess = report.figures["retain_truth"] - self.limit
            self.value = max(0.0, self.value + self.rate * excess)

    def state(self) -> dict[str, Any]:
        return {"value": self.value}

    def load_state(self, state: dict[str, Any]) -> None:
        self.value = float(state["value"])


class Lagrangian(Method):
    """The forget set's squared margins of logits, and the dual variable times the retain loss."""

    dual: Any
    "a `DualVariable`, which changes"

    needs: ClassVar[Needs] = Needs(retain="always", kinds=("causal_lm",))

    def loss(self, step: Step) -> Loss:
        flat = step.row_mean(step.forget, step.row_values(step.forget, squared_margin))
        return Loss(forget=flat, retain=self.dual.value * step.nll(step.retain))


def squared_margin(log_p: Tensor) -> Tensor:
    """(rows,) squared distance of the largest logit from the mean one; (rows, classes) logits, or log-probabilities."""
    return (log_p.max(-1).values - log_p.mean(-1)).square()


def train_constrained(
    work: LanguageWork, weight: float, limit: float | None, tolerance: float, rate: float, warmup: float
) -> None:
    """Flatten the forget set's logits under a limit on the retain loss.

    Args:
        weight: the dual variable at the start.
        limit: nats a token; None: `tolerance` (a share) above the model's retain loss before.
        rate: change of the dual variable per nat.
        warmup: share of the steps in which it is constant.

    Raises:
        RecipeError: there is no retain set.
    """
    retain = work.kept("PDU")
    if limit is None:
        measured = work.cached("retain-loss", lambda: {"nll": torch.tensor(mean_nll(work.task, retain))})
        limit = (1 + tolerance) * float(measured["nll"])
    dual = DualVariable(weight, limit, rate, warmup)
    work.train(Lagrangian(dual=dual), UNLEARNING, forget=work.forget, retain=retain, callbacks=[dual])
    moved = f"the weight of the retain loss went from {weight:.4g} to {dual.value:.4g}"
    work.log("notice", text=f"{moved}; its limit was {limit:.4f} nats a token")


@torch.no_grad()
def mean_nll(task: CausalLM, table: TokenTable) -> float:
    """Mean loss on some blocks of the table, in nats a labelled token."""
    step = max(1, len(table) // BLOCKS)
    rows = [row for row in range(0, len(table), step) if table.labelled([row])]
    total = sum(float(task.example_nll(table.batch([row])).sum()) for row in rows)
    return total / table.labelled(rows)
