"""Evaluate during training: a few texts of each set are evaluated every few steps; training ends by their losses, and
the best weights are kept."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from expunge.core.order import random_seed
from expunge.core.processes import agreed
from expunge.errors import RecipeError
from expunge.kinds.language.recipe import Recipe
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.kinds.language.watched import Watched
from expunge.runs.method import Method
from expunge.train.best import Best
from expunge.train.callback import Callback, Report
from expunge.train.runtime import Runtime

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork

BLOCKS, TOKENS = 4, 2048
"blocks drawn of each set, at least, and more until they have this many labelled tokens"
COMPETITORS, RHO = 10, 0.7
"""for the margin: the number of likeliest other tokens; and the probability among them from which the true one
counts as known (`--margin_teacher_topk`, `--forget_margin_rho` of MASC's authors for TOFU)"""

Rule = Literal["holdout", "margin"]
Figures = dict[str, float]
"set -> mean negative log-likelihood in nats a token; and `margin`, where training ends by it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What a training evaluates, and how it chooses.

    Attributes:
        tables: the sets with their own text as labels: forget, and holdout, retain, ordinary if given.
        every: steps between evaluations.
        stop_at: the rule by which training ends.
        asked: whether the user set it; otherwise it is skipped if there is nothing to stop at.
        keeps_best: whether training ends with the best step's weights, instead of the last step's.
        limits: set -> allowed rise of its perplexity, as a share of that before.
    """

    tables: Mapping[str, TokenTable]
    every: int
    stop_at: Rule | None
    asked: bool
    keeps_best: bool
    limits: Mapping[str, float]

    def made_from(self) -> dict[str, Any]:
        """All settings of the choice, in addition to the recipe's training."""
        tables = {name: table.folder.name for name, table in self.tables.items()}
        return {"tables": tables, "every": self.every, "stop_at": self.stop_at, "limits": dict(self.limits)}


def rule_of(recipe: Recipe, method: Method, has_holdout: bool) -> Rule | None:
    """The rule by which a run's training ends early, if any.

    Raises:
        RecipeError: training is to stop at held-out text, and there is none; or the method is not a single training.
    """
    training = recipe.training
    asked = training.stop_at in ("holdout", "margin")
    if not method.has_loss() and (asked or training.evaluate_every is not None):
        raise RecipeError(
            f"{recipe.method['name']} is not a single training with one loss, and cannot be evaluated during training",
            seen=f"training.evaluate_every {training.evaluate_every}, training.stop_at {training.stop_at}",
            next_step="leave both out, or choose a method that is a loss: npo, simnpo, gradient_difference",
        )
    if training.stop_at == "holdout" and not has_holdout:
        raise RecipeError(
            "training is to stop at held-out text, and none is given",
            seen="training.stop_at holdout, no holdout",
            allowed="text of the same kind as the forget set that no model saw",
            next_step="give it: --holdout PATH (in Python holdout=[...]); or --training.stop_at margin, which needs none",
        )
    if training.stop_at == "auto":
        return "holdout" if method.has_loss() and method.diverges and has_holdout else None
    return None if training.stop_at == "none" else training.stop_at


def choice_of(recipe: Recipe, method: Method, tables: Mapping[str, TokenTable]) -> Choice | None:
    """What a run's training evaluates; None if the recipe sets nothing, and no rule ends it.

    Args:
        tables: see `Choice`.

    Raises:
        RecipeError: see `rule_of`.
    """
    training, rule = recipe.training, rule_of(recipe, method, "holdout" in tables)
    if rule is None and training.evaluate_every is None:
        return None
    return Choice(
        tables={name: table.as_written() for name, table in tables.items()},
        every=training.evaluate_every or training.probe_steps,
        stop_at=rule,
        asked=training.stop_at != "auto",
        keeps_best=training.keep == "best",
        limits={"ordinary": recipe.verdict.perplexity, "retain": recipe.verdict.perplexity_retain},
    )


def drawn(table: TokenTable, seed: int, name: str) -> TokenTable:
    """The blocks of a set to evaluate: the same ones each time, drawn independently of the training order."""
    rows: list[int] = []
    tokens = 0
    for row in np.random.default_rng(random_seed(seed, "evaluation", name)).permutation(len(table)).tolist():
        if len(rows) >= BLOCKS and tokens >= TOKENS:
            break
        if labelled := table.labelled([row]):
            rows.append(row)
            tokens += labelled
    return table.take(sorted(rows))


def known_share(task: CausalLM, sample: Watched) -> float:
    r"""The share of a text's tokens whose margin is above $\log(\rho / (1 - \rho))$, as a mean over texts.

    The margin is the true token's logit minus the logsumexp of the `COMPETITORS` likeliest other ones: above that bound
    the true token has more than `RHO` of their joint probability.
    """
    bound = math.log(RHO / (1 - RHO))

    def above(log_p: Tensor, _: Tensor | None, target: Tensor) -> Tensor:
        true = log_p.gather(1, target[:, None])
        others = log_p.scatter(1, target[:, None], -torch.inf)
        likeliest = others.topk(min(COMPETITORS, others.shape[1] - 1), dim=1).values
        return (true[:, 0] - likeliest.logsumexp(1) > bound).double()

    shares: list[float] = []
    for batch in sample.batches:
        counts = task.example_rows(batch).long().tolist()
        values = task.row_values_and_truth(batch, above)[0].cpu().split(counts)
        shares += [float(each.mean()) for each in values]
    return sum(shares) / len(shares)


def forgotten(figures: Figures) -> float:
    """Amount of forgetting: the forget set's loss; with held-out text, minus that of it, and at most 0."""
    beside = figures["forget"] - figures.get("holdout", 0.0)
    if math.isnan(beside):
        return -math.inf
    return min(0.0, beside) if "holdout" in figures else beside


def excess(figures: Figures, start: Figures, limits: Mapping[str, float]) -> float:
    """Largest excess over the limits of perplexity, in nats a token; 0 or less: none."""
    beyond = [figures[name] - start[name] - math.log(limit) for name, limit in limits.items() if name in figures]
    return max((math.inf if math.isnan(each) else each for each in beyond), default=0.0)


def rank(figures: Figures, start: Figures, limits: Mapping[str, float]) -> tuple[bool, float]:
    """Sort key of a step, higher is better: for steps within the limits, the amount of forgetting; for others, which
    come after all of those, how little they exceed them."""
    beyond = excess(figures, start, limits)
    return (True, forgotten(figures)) if beyond <= 0 else (False, -beyond)


class Choosing(Callback):
    """Evaluates a few blocks of each set, ends the training by a rule, and keeps the best weights on disk.

    Args:
        parameters: the trained parameters.
        folder: for the best weights.
    """

    name = "choosing"

    def __init__(
        self,
        work: LanguageWork,
        task: CausalLM,
        choice: Choice,
        runtime: Runtime,
        parameters: Collection[nn.Parameter],
        folder: Path,
    ) -> None:
        self.work, self.task, self.choice, self.runtime = work, task, choice, runtime
        size = work.training.per_device_train_batch_size
        tables = {name: drawn(table, work.seed, name) for name, table in choice.tables.items()}
        if empty := [name for name, table in tables.items() if not len(table)]:
            raise RecipeError(
                f"training cannot be evaluated on the {empty[0]} set: no token of it is labelled",
                next_step="give text with at least two tokens a row, or leave training.evaluate_every and stop_at out",
            )
        self.samples = {name: Watched(task, table, len(table), size) for name, table in tables.items()}
        trained = set(parameters)
        named = {name: value for name, value in task.model.named_parameters() if value in trained}
        self.best = Best(folder, named)
        self.start: Figures = {}
        self.best_figures: Figures = {}

    @property
    def rule(self) -> Rule | None:
        """The rule by which training ends; none if its condition is met before the first step and the user did not set
        it."""
        return None if self.start and self.reached(self.start) else self.choice.stop_at

    @property
    def kept_limits(self) -> bool:
        """Whether the best weights so far keep the limits."""
        return bool(self.best_figures) and rank(self.best_figures, self.start, self.choice.limits)[0]

    def begin(self, step: int) -> None:
        if step:
            return
        self.start = self.look(0)
        if reached := self.reached(self.start):
            seen = f"before the first step {reached}"
            if self.choice.asked:
                raise RecipeError(
                    "the model does not know the forget set well enough for training to stop by it",
                    seen=seen,
                    next_step="give --training.stop_at none, or another held-out text",
                )
            self.work.log("notice", text=f"training does not stop at held-out text: {seen}")

    def after_step(self, report: Report) -> None:
        if report.step % self.choice.every and not report.ends:
            return
        figures = self.look(report.step)
        if not report.stop and self.rule is not None and (reached := self.reached(figures)):
            report.stop = f"{reached} (training.stop_at {self.rule})"
        if self.choice.keeps_best and self.is_better(figures):
            self.best.save(report.step)
            self.best_figures = figures

    def look(self, step: int) -> Figures:
        """The figures now, logged."""
        training = self.task.model.training
        self.task.model.eval()
        figures: Figures = agreed(self.runtime.look(self._figures))
        self.task.model.train(training)
        self.work.log("evaluation", step=step, **figures)
        return figures

    @torch.no_grad()
    def _figures(self) -> Figures:
        found = {name: sample.nll() for name, sample in self.samples.items()}
        if self.choice.stop_at == "margin":
            found["margin"] = known_share(self.task.exact(), self.samples["forget"])
        return found

    def reached(self, figures: Figures) -> str:
        """How the rule's condition is met, in words; "" if it is not, or there is no rule."""
        if self.choice.stop_at == "holdout" and figures["forget"] >= figures["holdout"]:
            nats = f"{figures['forget']:.2f} to {figures['holdout']:.2f} nats a token"
            return f"the forget set's loss has reached that of held-out text: {nats}"
        limit = self.work.training.stop_margin_share
        if self.choice.stop_at == "margin" and figures["margin"] <= limit:
            return f"{figures['margin']:.1%} of the forget set's tokens have a margin, of at most {limit:.1%}"
        return ""

    def is_better(self, figures: Figures) -> bool:
        """Whether these figures are better than the best so far; ties are not."""
        if not self.best_figures:
            return True
        new, old = (rank(each, self.start, self.choice.limits) for each in (figures, self.best_figures))
        return new > old

    def finish(self, steps: int) -> str:
        """Restore the best weights at the end of a training; return a sentence on which step they are from."""
        if not self.choice.keeps_best:
            return ""
        self.runtime.let_go()
        self.best.restore()
        step, kept = self.best.step, self.kept_limits
        self.work.log("kept", step=step, of=steps, limits=kept)
        if not kept:
            text = (
                f"no step that was evaluated kept the limits of perplexity; step {step} exceeds them least and is kept"
            )
            self.work.log("notice", text=text)
        return f"; the weights of step {step} are kept"

    def state(self) -> dict[str, Any]:
        return {"start": self.start, "best": self.best_figures, "step": self.best.noted()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.start, self.best_figures = state["start"], state["best"]
        self.best.resume(state["step"])
