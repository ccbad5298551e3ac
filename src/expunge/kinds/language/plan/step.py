"""One training step and one scoring pass, on tensors without values: bytes alive and operations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from transformers import PreTrainedModel

from expunge.kinds.language.guard import BLOCKS, TOKENS
from expunge.kinds.language.lora import Adapter
from expunge.kinds.language.measures.perplexity import BATCH
from expunge.kinds.language.narrow_training import weight_type
from expunge.kinds.language.plan.devices import FSDP
from expunge.kinds.language.plan.fakes import FakeLM, add_adapter, build, fakes
from expunge.kinds.language.plan.following import TOP, Following, phases
from expunge.kinds.language.plan.moments import moments_in_8_bits, with_moments
from expunge.kinds.language.plan.signals import batch_of, blocks
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.training import parameters_of
from expunge.models.checkpointing import enable_checkpointing
from expunge.models.language_kind import LanguageKind
from expunge.ops.narrow import hold_narrow
from expunge.ops.quantised import hold_quantised, linear_below, require_bitsandbytes
from expunge.runs.method import Method, Needs
from expunge.train.gradients import Gradients
from expunge.train.loop import only_trained
from expunge.train.rounded import PIECE, SCRATCH
from expunge.train.step import Loss, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Settings that determine the cost of a step.

    Attributes:
        model: how the model is loaded.
        narrow: dtype of frozen weights under an adapter; None: float32.
        method: whose loss is minimised.
        training: from the recipe.
        block_size: tokens in every block.
        bf16: whether products use bfloat16.
        processes: number of processes, each with the whole model unless it is sharded.
        fsdp: whether each holds only its part of weights, gradients and moments, and where.
        divides: whether the model's weights can be sharded.
    """

    model: LanguageKind
    narrow: torch.dtype | None
    method: Method
    training: Training
    block_size: int
    bf16: bool
    processes: int = 1
    fsdp: FSDP | None = None
    divides: bool = True

    @property
    def divided(self) -> bool:
        """Whether the model is also sharded without training."""
        return self.fsdp is not None and self.divides and self.model.narrow is None

    @property
    def adapted(self) -> bool:
        """Whether an adapter is trained: a method that is not a loss may change the weights themselves."""
        return self.training.adapter_rank is not None and self.method.has_loss()

    @property
    def rounds(self) -> bool:
        """Whether trained weights are bfloat16."""
        return self.training.weight_dtype != "float32" and not self.adapted

    def with_training(self, **fields: Any) -> Setting:
        """The same with other fields of the recipe's `training`."""
        return replace(self, training=self.training.model_copy(update=fields))

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if self.bf16 else nullcontext()

    @property
    def looked_at(self) -> torch.dtype | None:
        """The narrow dtype of a model without training; None: float32."""
        return self.narrow if self.bf16 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Cost of a step; bytes and floating-point operations.

    Attributes:
        peaks: peak bytes in each phase.
        numbers: of the weights and buffers (`weights` many of them, `weight_bytes`), of the trained ones (`trained`
            many), and `flops`.
    """

    peaks: dict[str, int]
    numbers: dict[str, int]

    @property
    def peak(self) -> int:
        return max(self.peaks.values())


def training_step(setting: Setting, layers: int | None = None, period: int = 1) -> Taken:
    """Run a training step with the method's own loss, as any but the first: moments exist already.

    Before it the guard checks its blocks, if these are more than a batch.

    Args:
        layers: number of layers, for a model of only the first ones.
        period: period of the layer pattern; phases are named by it.
    """
    training = setting.training
    bits = training.bits if setting.adapted else None
    if bits is not None:
        require_bitsandbytes()
        # The tables that it makes at first use are cached for good: they need values.
        hold_quantised({"": nn.Linear(64, 64)}, bits, torch.device("cpu"))
    with fakes(setting.block_size):
        narrow, trained_type = (
            (setting.narrow if setting.adapted else None),
            weight_type(training) if setting.rounds else None,
        )
        model, matrices = _held(setting, narrow, layers, frozen=bits is not None, trained=trained_type)
        task = FakeLM(model, setting.autocast)
        if bits is not None:
            hold_quantised(linear_below(model, matrices, task.decoder.prefix), bits, torch.device("cpu"))
        named = _found(setting.method, task)
        if setting.adapted:
            adapter = Adapter.of(training)
            assert adapter is not None
            add_adapter(task, adapter)
        with only_trained(model, _trained(task, setting, named)) as trained:
            optimizer = torch.optim.AdamW(list(trained.items()), lr=1e-5, fused=True)
            in_8_bits = training.optim != "adamw_torch"
            moments = moments_in_8_bits(trained.values()) if in_8_bits else with_moments(optimizer)
            largest = max(parameter.numel() for parameter in trained.values())
            followed = Following()
            weight_bytes = followed.add([*model.parameters(), *model.buffers()])
            shared = setting.processes > 1 and setting.fsdp is None
            buckets = [torch.zeros_like(each) for each in trained.values()] if shared else []
            if setting.fsdp is not None:  # a whole gradient exists until it is scattered
                for parameter in trained.values():
                    parameter.register_post_accumulate_grad_hook(_drop_gradient)
            elif training.gradient_accumulation_steps > 1:  # those of earlier batches exist already
                for parameter in trained.values():
                    parameter.grad = torch.zeros_like(parameter)
            followed.add([*moments, *buckets, *(p.grad for p in trained.values() if p.grad is not None)])
            watched = max(BLOCKS, -(-TOKENS // setting.block_size))
            with phases(task, followed, period), followed:
                if watched > training.per_device_train_batch_size:  # else it needs less than the step
                    followed.enter("guard")
                    with torch.no_grad():
                        task.nll(blocks(watched, setting.block_size))
                model.train()
                if training.gradient_checkpointing:
                    enable_checkpointing(model, {"use_reentrant": False})
                looked = followed.flops
                followed.enter("forward")
                forget = batch_of(setting, model, "forget") if setting.method.needs.forget else None
                retain = batch_of(setting, model, "retain") if setting.method.draws_retain else None
                batches = {name: each for name, each in (("forget", forget), ("retain", retain)) if each is not None}
                if setting.method.makes_gradient():
                    _own_gradient(task, setting.method, list(trained.values()), batches)
                else:
                    alone = setting.processes == 1  # else a whole step is one call of the model
                    backward = partial(_first_backward, followed) if alone else None
                    loss = setting.method.loss(Step(task, forget, retain, backward=backward))
                    terms = [loss.total] if setting.fsdp is None else loss.terms
                    del loss
                    followed.enter(f"0 {TOP}")
                    while terms:
                        terms.pop(0).backward()
                if setting.fsdp is None:  # then an update takes less than the gathering before it
                    followed.enter("update")
                    nn.utils.clip_grad_norm_(trained.values(), training.max_grad_norm)
                    if setting.rounds:  # piece by piece
                        torch.zeros(SCRATCH * min(PIECE, largest), dtype=torch.uint8)
                    elif not in_8_bits:
                        optimizer.step()
            numbers = {
                "weights": sum(p.numel() for p in model.parameters()),
                "weight_bytes": weight_bytes,
                "trained": sum(p.numel() for p in trained.values()),
                "flops": (followed.flops - looked) * training.gradient_accumulation_steps,
            }
            if setting.fsdp is not None:
                followed.peaks = _spread(followed.peaks, task, numbers, setting)
    return Taken(peaks=followed.peaks, numbers=numbers)


def _first_backward(followed: Following, term: Tensor) -> None:
    """The backward pass of a term before the next is made."""
    followed.enter(f"0 {TOP}")
    term.backward()
    followed.enter("forward")


def _own_gradient(task: FakeLM, method: Method, trained: list[nn.Parameter], batches: dict[str, Any]) -> None:
    """The passes of a method that computes a step's gradient itself."""

    def one_pass(loss: Callable[..., Any], sets: Collection[str]) -> tuple[Any, tuple[int, ...]]:
        terms, figures = loss(*(batches[name] for name in sets))
        terms.backward()
        return [{"loss": terms.detach(), **figures}], (1,) * len(batches)

    method.make_gradient(Gradients(task.model, trained, task, one_pass))


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _spread(peaks: dict[str, int], task: FakeLM, numbers: dict[str, int], setting: Setting) -> dict[str, int]:
    """The same phases with weights, gradients and moments sharded.

    Weights outside of layers are gathered for the whole step; one layer is at work, the next is being gathered, and the
    gradients of one are scattered. Tensors of a method that computes its gradient itself are counted whole: an
    overestimate.
    """

    def sizes(parameters: Iterable[Tensor]) -> tuple[int, int]:
        """Bytes of (weights, gradients)."""
        held = list(parameters)
        return sum(p.nbytes for p in held), sum(p.nbytes for p in held if p.requires_grad)

    layers = [sizes(layer.parameters()) for layer in task.layers]
    whole = sizes(task.model.parameters())
    weights, gradients = max(layers)
    rest = [whole[at] - sum(each[at] for each in layers) for at in (0, 1)]
    gathered = rest[0] + rest[1] + 2 * weights + 2 * gradients
    own = 0 if setting.fsdp == "offload" else (numbers["weight_bytes"] + 3 * whole[1]) // setting.processes
    change = own + gathered - numbers["weight_bytes"] - 2 * whole[1]
    return {name: peak + change for name, peak in peaks.items()}


def look(setting: Setting, layers: int | None = None, period: int = 1) -> Taken:
    """Score the tokens of as many blocks as perplexity scores at once, without gradients, as measures do.

    `flops` are those of one block, `held` the bytes of weights on one device and `largest` the numbers in the largest.
    """
    with fakes(setting.block_size), torch.no_grad():
        model, _ = _held(setting, setting.looked_at, layers)
        task = FakeLM(model, setting.autocast)
        followed = Following()
        weight_bytes = followed.add([*model.parameters(), *model.buffers()])
        with followed:
            followed.enter("forward")
            batch = blocks(BATCH, setting.block_size)
            with task.autocast():
                logits = task._logits(batch, task.labelled(batch))
            logits = logits.float()
            target = torch.zeros(len(logits), 1, dtype=torch.long)
            scores = logits.gather(1, target)[:, 0] - logits.logsumexp(-1)
            del scores, logits
        numbers = {
            "weights": sum(p.numel() for p in model.parameters()),
            "weight_bytes": weight_bytes,
            "flops": followed.flops // BATCH,
            "largest": max(p.numel() for p in model.parameters()),
            "held": weight_bytes,
        }
        if setting.divided:
            elsewhere = _elsewhere(task, setting.processes)
            numbers["held"] -= elsewhere
            followed.peaks = {name: peak - elsewhere for name, peak in followed.peaks.items()}
    return Taken(peaks=followed.peaks, numbers=numbers)


def _elsewhere(task: FakeLM, processes: int) -> int:
    """Bytes of a sharded model that a process never holds: it has the weights outside of layers and one layer whole."""
    layers = [sum(p.nbytes for p in layer.parameters()) for layer in task.layers]
    return sum(layers) - sum(layers) // processes - max(layers)


def _held(
    setting: Setting,
    narrow: torch.dtype | None,
    layers: int | None,
    frozen: bool = False,
    trained: torch.dtype | None = None,
) -> tuple[PreTrainedModel, set[str]]:
    """(the model in the narrow dtype, or as float32; the names of narrow matrices).

    Args:
        frozen: narrow float32 ones, too.
        trained: the dtype of trained ones.
    """
    model = build(setting.model, narrow or torch.float32, layers)
    if narrow is None and not frozen and trained is None:
        return model, set()
    ids = torch.zeros(1, 4, dtype=torch.long)
    return model, hold_narrow(model, lambda: model(input_ids=ids, use_cache=False), trained=trained)


def _found(method: Method, task: FakeLM) -> Collection[str] | None:
    """The weights that a method finds in the model; by their names, or all, if only values can tell."""
    try:
        return method.found_in(task)
    except DataDependentOutputException:
        names = [name for name, _ in task.model.named_parameters()]
        return [name for name in names if method.trains(name)] or names


class CrossEntropy(Method):
    """Substitute for a method whose own step needs values: cross-entropy of each set that it draws."""

    needs: ClassVar[Needs] = Needs(retain="weighted")
    retain_weight: float = 0.0

    def loss(self, step: Step) -> Loss:
        return Loss(forget=step.nll(step.forget), retain=step.nll(step.retain) if self.draws_retain else None)


def _trained(task: FakeLM, setting: Setting, named: Collection[str] | None) -> list[nn.Parameter]:
    return parameters_of(task, setting.method, setting.training, named)
