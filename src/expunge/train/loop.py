"""The training loop of every kind of model: draw, accumulate, clip, step, call back, save.

Step N does the same whether or not the run was interrupted before it: data order and random numbers are functions of
(seed, stream, step), and checkpoints hold everything else.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from expunge.core.order import Order
from expunge.train.callback import Callback, Report
from expunge.train.checkpoint import Checkpoints, load_optimizer_state, steps_behind
from expunge.train.gradients import OwnGradient, add_gradients
from expunge.train.phase import Phase
from expunge.train.runtime import Loss, Runtime


@dataclass(frozen=True, slots=True)
class Stream:
    """A dataset in the order in which a phase draws it.

    Attributes:
        order: which rows are in which batch.
        load: the batches of a step, each with its size (tokens or pictures): given the rows of all of them, and the
            wanted ones of them. Sums may be divided by totals over all.
        means: whether losses are means over a batch, and not divided by such totals: a step's is then the mean over its
            batches.
    """

    order: Order
    load: Callable[[Sequence[list[int]], Sequence[int]], Iterator[tuple[Any, int]]]
    means: bool = False

    def batches(self, numbers: Sequence[int], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
        """Those of the batches `numbers` whose places are in `own`."""
        return self.load([self.order.batch(number) for number in numbers], own)


@dataclass(slots=True)
class Trained:
    """What a training cost and where it ended.

    Attributes:
        seen: tokens, or pictures, over all steps and streams.
        stopped: why a callback stopped it; "" where all steps were made.
    """

    steps: int
    seconds: float
    seen: int
    stopped: str


def train(
    model: nn.Module,
    loss: Loss | OwnGradient,
    phase: Phase,
    streams: Sequence[Stream],
    *,
    checkpoints: Checkpoints,
    callbacks: Sequence[Callback] = (),
    parameters: Collection[nn.Parameter] | None = None,
    runtime: Runtime | None = None,
) -> Trained:
    """Train a model for a phase, from the newest checkpoint of it on; it is left in evaluation mode.

    Args:
        loss: called with a batch of each stream; or what makes a step's gradient instead of a loss.
        streams: an epoch is a pass over the first; the others are gone round as often as it needs them.
        parameters: what is trained; default: all trainable ones. Others are frozen meanwhile.

    Raises:
        DivergedError: the loss or its gradient is not finite.
    """
    runtime = runtime or Runtime()
    order = streams[0].order
    together = phase.accumulate * runtime.world
    steps = phase.planned(order.batches_per_epoch, runtime.world)
    end = min(steps, phase.stop_step or steps)
    with only_trained(model, parameters) as trained:
        optimizer = runtime.prepare(model, trained, phase, order.seed)
        if phase.continues in checkpoints.optimizers:
            load_optimizer_state(optimizer, checkpoints.optimizers[phase.continues])
        saved = checkpoints.restore(phase.name, model, optimizer, callbacks) or {"step": 0, "seconds": 0.0, "seen": 0}
        step = steps_behind(int(saved["step"]), int(saved.get("world", 1)), runtime.world)
        seen, start = int(saved["seen"]), time.monotonic() - float(saved["seconds"])
        for callback in callbacks:
            callback.begin(step)
        model.train(phase.mode == "train")
        optimizer.zero_grad(set_to_none=True)
        epoch, stopped = -1, ""
        while step < end and not stopped:
            begun = time.monotonic()
            if step * together // order.batches_per_epoch != epoch:
                epoch = step * together // order.batches_per_epoch
                model.train(phase.mode == "train")
                for callback in callbacks:
                    callback.before_epoch(epoch)
            runtime.seed(order.seed, phase.stream or f"{phase.name}/step", step)
            rate = phase.rate(step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            numbers = runtime.batches(step, phase.accumulate)
            if isinstance(loss, OwnGradient):
                parts, sizes = loss.made(model, trained.values(), streams, runtime, numbers)
            else:
                parts, sizes = add_gradients(streams, runtime, numbers, loss)
            for callback in callbacks:
                callback.after_backward()
            norm = {}
            if phase.max_grad_norm is not None:
                norm["grad_norm"] = runtime.clip(trained.values(), phase.max_grad_norm)
            figures, sizes = runtime.reduce(parts, norm, sizes)  # the one time a step that the device is waited for
            step += 1
            report = Report(step, steps, step == end, rate, sizes, 0.0, figures)
            for callback in callbacks:
                callback.before_update(report)
            runtime.require_finite(figures, f"phase {phase.name}, step {step}")
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            seen += sum(sizes)
            report.seconds = time.monotonic() - begun
            with torch.no_grad():
                for callback in callbacks:
                    callback.after_step(report)
            stopped = report.stop
            left = step * together // order.batches_per_epoch != epoch
            between = step % phase.save_every == 0 if phase.save_every else left
            if between and not report.ends and runtime.agreed(checkpoints.due()):
                progress = {"step": step, "world": runtime.world, "seen": seen, "seconds": time.monotonic() - start}
                checkpoints.save(phase.name, model, optimizer, callbacks, progress)
        model.eval()
        checkpoints.finish(phase, step, optimizer)
        if checkpoints.whole and runtime.agreed(checkpoints.due()):
            checkpoints.save(None, model, optimizer, callbacks)
    return Trained(step, time.monotonic() - start, seen, stopped)


@contextlib.contextmanager
def only_trained(
    model: nn.Module, parameters: Collection[nn.Parameter] | None = None
) -> Iterator[dict[str, nn.Parameter]]:
    """Inside, only these are trainable, given by name.

    Nothing is computed for others, nor for what lies below all that is trained.
    """
    able = {parameter: name for name, parameter in model.named_parameters() if parameter.requires_grad}
    trained = {p: able.get(p, f"extra {at}") for at, p in enumerate(able if parameters is None else parameters)}
    frozen = [parameter for parameter in able if parameter not in trained]
    for parameter in frozen:
        parameter.requires_grad_(False)
    try:
        yield {name: parameter for parameter, name in trained.items()}
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
