"""The training loop: order, accumulate, backward, clip, step, probe, checkpoint, stop.

Step N does the same whether or not the run was interrupted before it: data order and random numbers are functions of
(seed, stream, step), and checkpoints hold everything else.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from expunge.core.order import Order, random_seed
from expunge.errors import RecipeError
from expunge.kinds.language.distributions import Values
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.runs.method import Method
from expunge.train.checkpoint import load_latest, optimizer_tensors, restore_optimizer, save_checkpoint
from expunge.train.guard import Guard
from expunge.train.step import Batch, Rows, Step

Log = Callable[..., None]


@dataclass(slots=True)
class Trained:
    """What a training cost and where it ended."""

    steps: int
    seconds: float
    tokens: int
    stopped: str


class WatchedTask:
    """The task as a loop step sees it: passes losses through and sums what the labelled tokens' truth costs by set."""

    def __init__(self, task: CausalLM) -> None:
        self.task = task
        self.truth: dict[int, float] = {}

    def nll(self, batch: Batch, ceiling: float | torch.Tensor | None = None) -> torch.Tensor:
        loss, truth = self.task.nll_and_truth(batch, ceiling)
        self.truth[id(batch)] = float(truth)
        return loss

    def row_nll(self, batch: Batch) -> torch.Tensor:
        losses = self.task.row_nll(batch)
        self.truth[id(batch)] = float(losses.detach().sum())
        return losses

    def example_nll(self, batch: Batch) -> torch.Tensor:
        losses = self.task.example_nll(batch)
        self.truth[id(batch)] = float(losses.detach().sum())
        return losses

    def surprise(self, batch: Batch) -> torch.Tensor:
        return self.task.surprise(batch)

    def example_rows(self, batch: Batch) -> torch.Tensor:
        return self.task.example_rows(batch)

    def hidden(self, batch: Batch, layer: int) -> torch.Tensor:
        return self.task.hidden(batch, layer)

    def row_values(self, batch: Batch, of: Values) -> torch.Tensor:
        values, truth = self.task.row_values_and_truth(batch, of)
        self.truth[id(batch)] = float(truth)
        return values

    def rows(self, batch: Batch) -> Rows:
        rows = self.task.rows(batch)
        with torch.no_grad():
            log_p = rows.logits.gather(1, rows.target[:, None])[:, 0] - rows.logits.logsumexp(-1)
        self.truth[id(batch)] = -float(log_p.sum())
        return rows


def _from_layer(task: CausalLM, name: str, first: int) -> bool:
    """Whether a parameter belongs to layer `first` of the text tower or one above; all do where that is 0."""
    if first == 0:
        return True
    layer = task.layer_of(name)
    return layer is not None and layer >= first


def plan_steps(training: Training, batches_per_epoch: int) -> int:
    """Optimizer steps that the epochs amount to, at most `max_steps`."""
    steps = math.ceil(batches_per_epoch * training.num_train_epochs / training.gradient_accumulation_steps)
    return max(1, min(steps, training.max_steps or steps))


def learning_rate(training: Training, step: int, steps: int) -> float:
    """Linear warm-up, then linear decay to a tenth: small updates at the end, but none of zero."""
    warmup = math.ceil(training.warmup_ratio * steps)
    if step < warmup:
        return training.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return training.learning_rate * (1 - 0.9 * share)


def train(
    task: CausalLM,
    method: Method,
    training: Training,
    *,
    forget: TokenTable | None,
    retain: TokenTable | None,
    seed: int,
    checkpoints: Path,
    log: Log,
    probe: Callable[[int], None] | None = None,
    progress: Callable[[int, int, dict[str, Any]], None] | None = None,
    ends: bool = False,
    chosen: Callable[[str], bool] | None = None,
) -> Trained:
    """Train `task.model`'s trainable parameters with `method`; goes on from the newest checkpoint in `checkpoints`.

    Args:
        forget, retain: the sets; the method's `needs` say which are drawn. A retain set that is not drawn is still
            watched by the guard.
        log: called with event="step" and figures after every step.
        probe: called with the step before the first step, every `probe_steps`, and at the end.
        progress: called with (step, steps, figures).
        ends: whether `training.stop_step` is the user's to give, as the guard then advises.
        chosen: whether the parameter of a name is trained, where the method does not say it of names.

    Raises:
        DivergedError: the loss is not finite or the retain loss ran away.
    """
    drawn_forget = forget if method.needs.forget else None
    drawn_retain = retain if method.draws_retain else None
    main = drawn_forget if drawn_forget is not None else drawn_retain
    if main is None or (method.draws_retain and retain is None):
        raise RecipeError(
            f"the method {type(method).__name__} needs a set that is not there", allowed=str(method.needs)
        )
    accumulate, size = training.gradient_accumulation_steps, training.per_device_train_batch_size
    orders = {
        name: Order(table.lengths, size, seed, name)
        for name, table in (("forget", drawn_forget), ("retain", drawn_retain))
        if table is not None
    }
    tables = {"forget": drawn_forget, "retain": drawn_retain}
    steps = plan_steps(training, Order(main.lengths, size, seed, "plan").batches_per_epoch)
    end = min(steps, training.stop_step or steps)

    able = [(name, p) for name, p in task.model.named_parameters() if p.requires_grad]
    wanted = method.trains if chosen is None else chosen
    named = [(name, p) for name, p in able if wanted(name) and _from_layer(task, name, training.first_layer)]
    if not named:
        layers = f", {len(task.layers)} layers" if training.first_layer else ""  # no model needs layers without it
        raise RecipeError(
            f"{type(method).__name__} finds no weights to train in this model",
            seen=f"training.first_layer {training.first_layer}{layers}; {len(able)} trainable weights",
            next_step="lower training.first_layer, or see the fields of the method that name weights or layers",
        )
    trained = {name for name, _ in named}
    still = [p for name, p in able if name not in trained]
    for parameter in still:
        parameter.requires_grad_(False)  # nothing is computed for them, nor for what lies below all that is trained
    names, parameters = [name for name, _ in named], [p for _, p in named]
    optimizer = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    guard = Guard(task, retain, training, seed, ends)
    first, seconds_before, tokens_before = 0, 0.0, 0
    saved = load_latest(checkpoints, end)
    if saved is not None:
        first, tensors, state = saved
        with torch.no_grad():
            for name, parameter in named:
                parameter.copy_(tensors[f"parameter/{name}"])
        restore_optimizer(optimizer, names, tensors)
        guard.restore(state["guard"])
        seconds_before, tokens_before = float(state["seconds"]), int(state["tokens"])
        log("resumed", step=first)

    def save(step: int) -> None:
        tensors = {f"parameter/{name}": p for name, p in named} | optimizer_tensors(optimizer, names)
        state = {"guard": guard.state(), "seconds": seconds_before + time.monotonic() - start, "tokens": tokens}
        save_checkpoint(checkpoints, step, tensors, state)

    start = last_saved = time.monotonic()
    tokens, stopped, step = tokens_before, "", first
    if first == 0:
        guard.check(0)
        if probe is not None:
            probe(0)
    task.model.train()
    while step < end and not stopped:
        begun = time.monotonic()
        torch.manual_seed(random_seed(seed, "step", step) % (1 << 31))  # dropout, where a model has it
        rate = learning_rate(training, step, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        figures, seen = _accumulate(task, method, tables, orders, step, accumulate)
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, training.max_grad_norm))
        guard.check_finite(step + 1, figures["loss"], norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        tokens += seen
        seconds = time.monotonic() - begun
        figures |= {"learning_rate": rate, "grad_norm": norm, "seconds": seconds, "tokens_per_second": seen / seconds}
        log("step", step=step, **figures)
        if progress is not None:
            progress(step, steps, figures)
        if training.stop_forget_loss is not None and figures["forget_truth"] is not None:
            stopped = guard.forgotten(figures["forget_truth"])
        if step % training.probe_steps == 0 or step == end or stopped:
            task.model.eval()
            guard.check(step)
            if probe is not None:
                probe(step)
            task.model.train()
            # Only here, right after the guard found the weights good.
            if time.monotonic() - last_saved > training.save_seconds and step < end and not stopped:
                save(step)
                last_saved = time.monotonic()
    task.model.eval()
    for parameter in still:
        parameter.requires_grad_(True)
    done = "all steps done" if end == steps else f"step {end} of {steps} (training.stop_step)"
    return Trained(step, seconds_before + time.monotonic() - start, tokens, stopped or done)


def _accumulate(
    task: CausalLM,
    method: Method,
    tables: dict[str, TokenTable | None],
    orders: dict[str, Order],
    step: int,
    accumulate: int,
) -> tuple[dict[str, Any], int]:
    """Gradients of one optimizer step; (figures, tokens seen)."""
    rows = {name: [order.batch(step * accumulate + i) for i in range(accumulate)] for name, order in orders.items()}
    labelled = {}
    for name, of_set in rows.items():
        labelled[name] = max(1, sum(_table(tables, name).labelled(numbers) for numbers in of_set))
    total, seen = 0.0, 0
    parts: dict[str, float] = {}
    truth: dict[str, float] = {}
    for i in range(accumulate):
        batches: dict[str, Batch] = {}
        for name, of_set in rows.items():
            examples = sum(len(numbers) for numbers in of_set)
            tokens = sum(int(_table(tables, name).lengths[numbers].sum()) for numbers in of_set)
            batch = _table(tables, name).batch(of_set[i], labelled[name], examples, tokens)
            seen += int(batch.lengths.sum()) + (int(batch.preferred.lengths.sum()) if batch.preferred else 0)
            batches[name] = batch.to(task.device)
        watched = WatchedTask(task)
        loss = method.loss(Step(watched, batches.get("forget"), batches.get("retain")))
        loss.total.backward()
        total += float(loss.total.detach())
        for name, part in (("forget", loss.forget), ("retain", loss.retain)):
            if part is not None:
                parts[name] = parts.get(name, 0.0) + float(part.detach())
        for name, batch in batches.items():
            if id(batch) in watched.truth:
                truth[name] = truth.get(name, 0.0) + watched.truth[id(batch)] / labelled[name]
    figures = {
        "loss": total,
        "forget_loss": parts.get("forget"),
        "retain_loss": parts.get("retain"),
        "forget_truth": truth.get("forget"),
        "retain_truth": truth.get("retain"),
    }
    return figures, seen


def _table(tables: dict[str, TokenTable | None], name: str) -> TokenTable:
    table = tables[name]
    assert table is not None, name
    return table
