"""Training a language model with a method's loss: its schedule, its streams of blocks, and its callbacks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from expunge.core.memory import give_back_freed_memory, keep_freed_memory
from expunge.core.order import Order
from expunge.core.processes import is_first, world
from expunge.core.words import counted
from expunge.errors import RecipeError
from expunge.kinds.language.choosing import Choosing
from expunge.kinds.language.guard import Guard
from expunge.kinds.language.lora import adapted_weights
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TokenTable
from expunge.models.checkpointing import disable_checkpointing, enable_checkpointing
from expunge.runs.method import Method
from expunge.train.cache import file_name
from expunge.train.callback import Callback, Report
from expunge.train.checkpoint import Checkpoints
from expunge.train.gradients import OwnGradient
from expunge.train.loop import Stream, Trained, train
from expunge.train.phase import Phase
from expunge.train.precision import found_device
from expunge.train.runtime import Runtime
from expunge.train.step import Step

if TYPE_CHECKING:
    from expunge.kinds.language.session import LanguageWork

UNLEARNING = "unlearning"
"name of the one training of a method that is a loss; its steps and probes are the report's"
FIGURES = ("loss", "forget_loss", "retain_loss", "forget_truth", "retain_truth")


def plan_steps(training: Training, batches_per_epoch: int, processes: int) -> int:
    """Optimizer steps of all epochs, at most `max_steps`."""
    together = training.gradient_accumulation_steps * processes
    steps = math.ceil(batches_per_epoch * training.num_train_epochs / together)
    return max(1, min(steps, training.max_steps or steps))


def phase_of(training: Training, batches_per_epoch: int) -> Phase:
    """The recipe's phase: linear warm-up, then linear decay to a tenth (small updates, none of zero)."""
    return Phase(
        name="training",
        steps=plan_steps(training, batches_per_epoch, world()),
        stop_step=training.stop_step,
        learning_rate=training.learning_rate,
        schedule="linear",
        final_rate=training.learning_rate / 10,
        warmup=training.warmup_ratio,
        optimizer="adamw" if training.optim == "adamw_torch" else "adamw_8bit",
        weight_decay=training.weight_decay,
        batch_size=training.per_device_train_batch_size,
        accumulate=training.gradient_accumulation_steps,
        max_grad_norm=training.max_grad_norm,
        save_every=training.probe_steps,  # right after the guard found the weights good
        stream="step",
    )


def stream_of(task: CausalLM, table: TokenTable, order: Order) -> Stream:
    """A table's blocks in an order, on the model's device; sums are divided by the totals of the whole optimizer
    step."""

    def load(rows: Sequence[list[int]], own: Sequence[int]) -> Iterator[tuple[Any, int]]:
        labelled = max(1, sum(table.labelled(each) for each in rows))
        examples = sum(len(each) for each in rows)
        tokens = sum(int(table.lengths[each].sum()) for each in rows)
        for at in own:
            batch = table.batch(rows[at], labelled, examples, tokens)
            yield batch.to(task.device), batch.size

    return Stream(order, load)


def train_language(
    work: LanguageWork,
    method: Method,
    name: str,
    *,
    forget: TokenTable | None,
    retain: TokenTable | None,
    named: Collection[str] | None,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train the model's trainable parameters with the loss of `method`, from its newest checkpoint on.

    Args:
        name: name of this training in the session; that of a method that is a loss is probed.
        forget, retain: the sets; the method's `needs` say which are drawn. A retain set that is not drawn is still
            watched by the guard.
        named: names of the weights to train, if the method found them in the model.
        callbacks: called before the guard, which checks the model if one of them ends the training.

    Raises:
        RecipeError: a set of the method is missing or has fewer blocks than there are processes, or nothing is trained.
        DivergedError: the loss is not finite or the retain loss ran away.
    """
    task, training = work.task, work.training
    drawn = {"forget": forget if method.needs.forget else None, "retain": retain if method.draws_retain else None}
    tables = {name: table for name, table in drawn.items() if table is not None}
    if not tables or (method.draws_retain and retain is None):
        raise RecipeError(f"the method {type(method).__name__} needs a set that is missing", allowed=str(method.needs))
    fewest = min(map(len, tables.values()))
    if world() > fewest:
        raise RecipeError(
            f"there are more processes than blocks of the {min(tables, key=lambda each: len(tables[each]))} set",
            seen=f"{world()} processes, {fewest} blocks",
            next_step=f"start at most {fewest} processes, or shorten blocks (--data.block_size) so that there are more",
        )
    size = training.per_device_train_batch_size
    orders = {name: Order(table.lengths, size, work.seed, name) for name, table in tables.items()}
    phase = phase_of(training, next(iter(orders.values())).batches_per_epoch)
    assert phase.steps is not None
    end = min(phase.steps, phase.stop_step or phase.steps)

    runtime, done = Runtime(), _Progress(phase.steps)
    checkpoints = Checkpoints(
        work.checkpoints / file_name(name),
        training.save_seconds,
        at_most=end,
        notice=lambda text: work.log("notice", text=text),
    )
    if training.gradient_checkpointing:
        give_back_freed_memory()
    with runtime.spread(task.model, lambda: task.decoder.prefix) as model:
        if model is not task.model:
            task = task.on(model, found_device())

        def loss(*batches: Any) -> tuple[Tensor | Sequence[Tensor], dict[str, Tensor]]:
            given = {"forget": None, "retain": None} | dict(zip(tables, batches, strict=True))
            step = Step(task, **given, progress=done.share, backward=runtime.adding)
            found = method.loss(step)
            # Together, the gradients of both sets would both be whole in memory before any of them is sharded.
            return found.terms if runtime.spreads else found.total, step.figures(found)

        own = None
        if method.makes_gradient():
            own = OwnGradient(task, tuple(tables), method.make_gradient, lambda: done.share)
        if training.gradient_checkpointing:
            enable_checkpointing(task.model, {"use_reentrant": False})
        probe = work.probe if name == UNLEARNING and (is_first() or runtime.spreads) else None
        parameters, choosing = parameters_of(task, method, training, named), None
        if work.choice is not None and name == UNLEARNING:
            folder = work.checkpoints / file_name(name) / "best"
            choosing = Choosing(work, task, work.choice, runtime, parameters, folder)
        guard = Guard(
            task,
            retain,
            training,
            work.seed,
            runtime,
            work.ends,
            probe,
            lambda: choosing is not None and choosing.kept_limits,
        )
        guard.rate_field = work.rate_field
        result = train(
            task.model,
            own or loss,
            phase,
            [stream_of(task, tables[name], order) for name, order in orders.items()],
            checkpoints=checkpoints,
            callbacks=[
                _Log(work, name),
                done,
                *callbacks,
                *([] if choosing is None else [choosing]),
                guard,
            ],
            parameters=parameters,
            runtime=runtime,
        )
        kept = "" if choosing is None else choosing.finish(result.steps)
        if training.gradient_checkpointing:
            disable_checkpointing(task.model)
    if training.gradient_checkpointing:
        keep_freed_memory()
    if not result.stopped:
        result.stopped = "all steps done" if end == phase.steps else f"step {end} of {phase.steps} (training.stop_step)"
    result.stopped += kept
    return result


def parameters_of(
    task: CausalLM, method: Method, training: Training, named: Collection[str] | None
) -> list[nn.Parameter]:
    """The parameters to train: those that the method wants, from `training.first_layer` on.

    Raises:
        RecipeError: there are none.
    """
    weights, first = adapted_weights(task.model), training.first_layer
    if named is not None:  # in a model with adapters, the name may be a wrapped layer's
        named = {name.replace(".base_layer", "") for name in named}
    able = [(name, parameter) for name, parameter in task.model.named_parameters() if parameter.requires_grad]
    found = [
        parameter
        for name, parameter in able
        if (method.trains(name) if named is None else weights.get(name, name) in named)
        and (first == 0 or (task.layer_of(name) or 0) >= first)
    ]
    if not found:
        layers = f", {counted(len(task.layers), 'layer')}" if first else ""  # no model needs layers without it
        raise RecipeError(
            f"{type(method).__name__} finds no weights to train in this model",
            seen=f"training.first_layer {first}{layers}; {len(able)} trainable weights",
            next_step="lower training.first_layer, or see the fields of the method that name weights or layers",
        )
    return found


class _Progress(Callback):
    """Keeps the share of steps done, for losses that change over the training."""

    def __init__(self, steps: int) -> None:
        self.steps, self.share = steps, 0.0

    def begin(self, step: int) -> None:
        self.share = step / self.steps

    def after_step(self, report: Report) -> None:
        self.share = report.step / self.steps


class _Log(Callback):
    """Logs every step, and where a run resumes."""

    def __init__(self, work: LanguageWork, phase: str) -> None:
        self.work, self.phase = work, phase

    def begin(self, step: int) -> None:
        if step:
            self._log("resumed", step=step)

    def after_step(self, report: Report) -> None:
        figures: dict[str, Any] = {name: report.figures.get(name) for name in FIGURES} | {
            "learning_rate": report.rate,
            "grad_norm": report.figures["grad_norm"],
            "seconds": report.seconds,
            "tokens_per_second": sum(report.sizes) / report.seconds,
        }
        self._log("step", step=report.step, **figures)
        if self.work.on_progress is not None:
            self.work.on_progress(report.step, report.steps, figures)

    def _log(self, event: str, **values: Any) -> None:
        if self.phase == UNLEARNING:
            self.work.log(event, **values)
        else:
            self.work.log(f"phase_{event}", phase=self.phase, **values)
