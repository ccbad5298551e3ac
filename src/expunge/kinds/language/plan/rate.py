"""Measure this machine's training speed: one step of a model's first layers, with random weights, on a few tokens."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from expunge.kinds.language.plan.devices import Device
from expunge.kinds.language.plan.fakes import FakeLM, build
from expunge.kinds.language.plan.signals import blocks
from expunge.kinds.language.plan.step import CrossEntropy, Setting, training_step
from expunge.kinds.language.recipe import Training
from expunge.models.language_kind import LanguageKind
from expunge.train.precision import Precision
from expunge.train.step import Step

LARGEST = 1 << 30
"bytes of such a model's weights, at most"
TOKENS, BLOCKS = 128, 2


def with_speed(device: Device, kind: LanguageKind, bf16: bool) -> Device:
    """This machine with its measured speed; unchanged if even one layer is large."""
    training = Training(per_device_train_batch_size=BLOCKS)
    setting = Setting(model=kind, narrow=None, method=CrossEntropy(), training=training, block_size=TOKENS, bf16=bf16)
    taken = training_step(setting, 1)
    if taken.numbers["weight_bytes"] > LARGEST:
        return device
    precision = Precision(bf16)
    model = build(kind, torch.float32, 1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    task = FakeLM(model, precision.autocast)
    model.to(precision.device)
    batch = blocks(BLOCKS, TOKENS).to(precision.device)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        loss = CrossEntropy().loss(Step(task, batch, None)).total
        loss.backward()
        float(loss.detach())  # waits for the device
        seconds.append(time.perf_counter() - start)
        model.zero_grad()
    source = f"measured: {BLOCKS} blocks of {TOKENS} tokens through one layer and the head, forward and backward"
    return replace(device, rate=taken.numbers["flops"] / min(seconds), reached=1.0, source=source)
