"""Measure this machine's training speed: steps of a model's first layers, with random weights, on a batch of the recipe's
size.

Two depths give the speed of any: what is outside of layers, the head above all, takes another share of a deep model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

import torch
from torch import nn

from expunge.core.memory import keep_freed_memory
from expunge.kinds.language.lora import Adapter, inject
from expunge.kinds.language.narrow_training import weight_type
from expunge.kinds.language.plan import depth
from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.fakes import FakeLM, build
from expunge.kinds.language.plan.signals import blocks
from expunge.kinds.language.plan.step import CrossEntropy, Setting, training_step
from expunge.kinds.language.training import parameters_of
from expunge.models.checkpointing import enable_checkpointing
from expunge.ops.narrow import hold_narrow
from expunge.train.loop import only_trained
from expunge.train.precision import Precision
from expunge.train.step import Step

LARGEST = 1 << 30
"bytes of such a model's weights, at most"
FLOPS = 100e9
"operations of a measured step on a processor, about; a smaller batch is taken for it"
LONGEST = 512
"tokens of a block, at most"
DEEP = 8
"repeats of the layer pattern in the deeper of the two models, at most"
REPEATS = 3
WEIGHTS = 1 << 21
"numbers that an update is measured on"


@dataclass(frozen=True, slots=True)
class Measured:
    """Operations of a step without its update, and the least seconds that it took."""

    flops: int
    seconds: float


def with_speed(device: Device, setting: Setting) -> Device:
    """This machine with its measured speed in training; unchanged if even the first layers are large."""
    ends = list(_steps(setting, device.main_memory))
    if not ends:
        return device
    one, other = ends[0], ends[-1]
    blocks_of_layers = _layers(setting) / _period(setting)
    flops, seconds = float(other.flops), other.seconds
    if len(ends) == 2 and other.seconds > one.seconds:
        times = (blocks_of_layers - 1) / (_deeper(setting) - 1)
        flops = one.flops + times * (other.flops - one.flops)
        seconds = one.seconds + times * (other.seconds - one.seconds)
    return replace(
        device,
        rate=flops / seconds,
        reached=1.0,
        update=_update(Precision(setting.bf16).device),
        source="measured: steps of the first layers and the head",
    )


def _layers(setting: Setting) -> int:
    return int(setting.model.config.get_text_config(decoder=True).num_hidden_layers)


def _period(setting: Setting) -> int:
    return depth.period_of(setting.model) or _layers(setting)


def _deeper(setting: Setting) -> int:
    return min(DEEP, _layers(setting) // _period(setting))


def _steps(setting: Setting, processor: bool) -> Iterator[Measured]:
    """A step of one repeat of the layer pattern, and one of several, as far as these are small enough."""
    period = _period(setting)
    alone = replace(setting, method=CrossEntropy(), processes=1, fsdp=None, block_size=min(setting.block_size, LONGEST))
    alone = alone.with_training(gradient_accumulation_steps=1, quantization=None, optim="adamw_torch")
    rows = alone.training.per_device_train_batch_size
    for times in sorted({1, _deeper(setting)}):
        own = alone.with_training(per_device_train_batch_size=rows)
        taken = training_step(own, times * period)
        if taken.numbers["weight_bytes"] > LARGEST:
            return
        if times == 1 and processor and taken.numbers["flops"] > FLOPS:
            rows = max(1, int(rows * FLOPS / taken.numbers["flops"]))
            own = alone.with_training(per_device_train_batch_size=rows)
            taken = training_step(own, times * period)
        yield Measured(taken.numbers["flops"], _seconds(own, times * period))


def _seconds(setting: Setting, layers: int) -> float:
    """The least time of a step's forward and backward pass."""
    keep_freed_memory()  # as a run does
    precision, training = Precision(setting.bf16), setting.training
    narrow = setting.narrow if setting.adapted else None
    model = build(setting.model, narrow or torch.float32, layers)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.02)
    if narrow is not None or setting.rounds:
        ids = torch.zeros(1, 4, dtype=torch.long)
        wide = weight_type(training) if setting.rounds else None
        hold_narrow(model, lambda: model(input_ids=ids, use_cache=False), trained=wide)
    model.to(precision.device)
    task = FakeLM(model, precision.autocast)
    if setting.adapted:
        adapter = Adapter.of(training)
        assert adapter is not None
        inject(task, "unlearning", adapter, 0)
    with only_trained(model, parameters_of(task, setting.method, training, None)) as trained:
        model.train()
        if training.gradient_checkpointing:
            enable_checkpointing(model, {"use_reentrant": False})
        seconds = []
        for rows in (1, *[training.per_device_train_batch_size] * (REPEATS - 1)):  # the first sets things up
            batch = blocks(rows, setting.block_size).to(precision.device)
            start = perf_counter()
            loss = setting.method.loss(Step(task, batch, None)).total
            loss.backward()
            norm = nn.utils.clip_grad_norm_(trained.values(), training.max_grad_norm)
            float(loss.detach()), float(norm)  # waits for the device
            seconds.append(perf_counter() - start)
            for parameter in trained.values():
                parameter.grad = None
    return min(seconds[1:])


def _update(device: torch.device) -> float:
    """Seconds of AdamW's update of a weight."""
    parameter = nn.Parameter(torch.ones(WEIGHTS, device=device))
    parameter.grad = torch.ones_like(parameter)
    optimizer = torch.optim.AdamW([parameter], lr=1e-5, fused=True)
    seconds = []
    for _ in range(REPEATS):
        start = perf_counter()
        optimizer.step()
        float(parameter.detach()[0])  # waits for the device
        seconds.append(perf_counter() - start)
    return min(seconds) / WEIGHTS
