"""Seconds that are planned after a measured step are about those that training then takes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from expunge.kinds.language.plan import depth, rate
from expunge.kinds.language.plan.devices import this_machine
from expunge.kinds.language.plan.step import Setting
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.kinds.language.task import CausalLM
from expunge.models.language_kind import LanguageKind
from expunge.runs.registry import make_method
from tiny import ignore_log, random_blocks, write_table

STEPS, BATCH, BLOCK = 8, 4, 64
OFF = 1.75
ATTEMPTS = 3
"other work on the machine takes caches and units that cores share, also from seconds of a processor"

CONFIG = LlamaConfig(
    hidden_size=128,
    intermediate_size=384,
    num_hidden_layers=5,
    num_attention_heads=4,
    num_key_value_heads=4,
    vocab_size=2000,
    tie_word_embeddings=True,
)


def planned(training: Training) -> float:
    setting = Setting(
        model=LanguageKind("AutoModelForCausalLM", CONFIG),
        narrow=None,
        method=make_method({"name": "gradient_difference"}),
        training=training,
        block_size=BLOCK,
        bf16=False,
    )
    device = rate.with_speed(this_machine(), setting)
    assert device.speed is not None
    taken = depth.of_training(setting).numbers
    return STEPS * (taken["flops"] / device.speed + taken["trained"] * device.update)


def trained(training: Training, folder: Path) -> float:
    table = write_table(folder / "table", random_blocks([BLOCK] * BATCH * STEPS))
    work = LanguageWork(
        task=CausalLM(LlamaForCausalLM(CONFIG).eval(), None),
        forget=table,
        retain=table,
        training=training,
        seed=0,
        checkpoints=folder / "checkpoints",
        log=ignore_log,
    )
    begun = time.process_time()
    work.carry_out(make_method({"name": "gradient_difference"}))
    return time.process_time() - begun


@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.long)])
def test_planned_seconds_are_about_those_that_training_takes(
    checkpointing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within a factor of `OFF`; benchmarks/plan has the figures."""
    if torch.cuda.is_available():
        pytest.skip("seconds of a processor are measured")
    monkeypatch.setattr(rate, "perf_counter", time.process_time)
    training = Training(
        max_steps=STEPS,
        num_train_epochs=99,
        per_device_train_batch_size=BATCH,
        gradient_checkpointing=checkpointing,
        max_retain_increase=1e9,
        bf16=False,
    )
    ratios: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for attempt in range(ATTEMPTS):
            ratios.append(planned(training) / trained(training, tmp_path / str(attempt)))
            if 1 / OFF < ratios[-1] < OFF:
                break
    finally:
        torch.set_num_threads(threads)
    assert 1 / OFF < ratios[-1] < OFF, ratios


def test_a_model_whose_first_layer_is_large_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "LARGEST", 1 << 10)
    setting = Setting(
        model=LanguageKind("AutoModelForCausalLM", CONFIG),
        narrow=None,
        method=make_method({"name": "gradient_difference"}),
        training=Training(),
        block_size=BLOCK,
        bf16=False,
    )
    assert rate.with_speed(this_machine(), setting).speed is None
