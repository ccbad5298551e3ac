"""What only a GPU shows: `make test-cuda`. Skipped where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

import expunge
from expunge.core import storage
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.plan.step import Setting, training_step
from expunge.kinds.language.recipe import Training
from expunge.kinds.language.session import LanguageWork
from expunge.models.language_kind import language_kind
from expunge.models.source import find_model
from expunge.runs.folder import RunFolder
from expunge.runs.registry import make_method
from expunge.train.precision import Precision
from small import SMALL, as_options, write_texts
from tiny import ignore_log, random_blocks, write_table
from tiny_model import build_tiny_model

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
ADAPTED = {"adapter_rank": 16, "gradient_checkpointing": True}
BLOCK = 256


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stored in bfloat16."""
    return build_tiny_model(tmp_path_factory.mktemp("base") / "model", dtype="bfloat16")


def options_of(base: Path, folder: Path, **more: Any) -> tuple[Path, dict[str, Any]]:
    target, retain = write_texts(folder)
    usual = {"retain": str(retain), "model": str(base), "method": "gradient_difference", "save_dtype": "float32"}
    return target, SMALL | usual | more


def forget(base: Path, folder: Path, **more: Any) -> RunFolder:
    target, options = options_of(base, folder, **more)
    return expunge.forget(str(target), out=folder / "run", **options)


def test_a_run_says_what_the_gpu_held(base: Path, tmp_path: Path) -> None:
    run = forget(base, tmp_path)
    assert storage.read_json(run.record)["cost"]["device_peak_bytes"] > 0
    assert "of the GPU" in run.report.read_text()


@pytest.mark.parametrize("bf16", [True, False])
def test_weights_are_those_of_a_processor(bf16: bool, base: Path, tmp_path: Path) -> None:
    target, options = options_of(base, tmp_path, **{"training.bf16": bf16})
    found = {}
    for name, env in {"gpu": {}, "cpu": {"ACCELERATE_USE_CPU": "true"}}.items():
        words = ["forget", str(target), "--out", str(tmp_path / name), *as_options(options)]
        done = subprocess.run([sys.executable, "-m", "expunge", *words], env=os.environ | env, capture_output=True)
        assert done.returncode in (0, 3), done.stderr.decode()[-2000:]
        found[name] = load_file(tmp_path / name / "model/model.safetensors")
    before = load_file(base / "model.safetensors")
    change = sum(float((found["cpu"][key] - before[key].float()).square().sum()) for key in before) ** 0.5
    apart = sum(float((found["cpu"][key] - found["gpu"][key]).square().sum()) for key in before) ** 0.5
    assert apart < (0.5 if bf16 else 0.05) * change


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_an_adapter_learns_on_quantised_weights(bits: str, base: Path, tmp_path: Path) -> None:
    adapter = {"training.adapter_rank": 4, "training.learning_rate": 1e-2, "training.quantization": bits}
    run = forget(base, tmp_path, save="both", **adapter)
    merged, before = load_file(run.model / "model.safetensors"), load_file(base / "model.safetensors")
    assert any(not torch.equal(merged[key], value.float()) for key, value in before.items())


@pytest.mark.parametrize("bf16", [True, False])
@pytest.mark.parametrize(
    "training",
    [
        {},
        {"gradient_checkpointing": True},
        ADAPTED,
        ADAPTED | {"quantization": "8bit"},
        ADAPTED | {"quantization": "4bit"},
    ],
    ids=str,
)
def test_the_peak_is_what_was_planned(training: dict[str, Any], bf16: bool, base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = LlamaConfig(
        vocab_size=8000, hidden_size=768, intermediate_size=2048, num_hidden_layers=8, num_attention_heads=12,
        eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    LazyModel(find_model(str(base)), Precision(False)).tokenizer.save_pretrained(folder)
    lazy = LazyModel(find_model(str(folder)), Precision(bf16))
    settings = Training(per_device_train_batch_size=4, max_steps=3, max_retain_increase=1e9, bf16=bf16, **training)
    method = make_method({"name": "gradient_difference"})
    table = write_table(tmp_path / "table", random_blocks([BLOCK] * 32))
    work = LanguageWork(
        task=lazy.under_adapter(settings.bits) if settings.adapter_rank else lazy.to_train(),
        forget=table, retain=table, training=settings, seed=0, checkpoints=tmp_path / "checkpoints", log=ignore_log,
        originals=lazy.originals,
    )  # fmt: skip
    peaks: list[int] = []
    work.on_progress = lambda *_: peaks.append(torch.cuda.max_memory_allocated())
    torch.cuda.reset_peak_memory_stats()
    work.carry_out(method)
    kind = language_kind(folder, "model")
    narrow = torch.bfloat16 if settings.adapter_rank else None
    planned = training_step(
        Setting(model=kind, narrow=narrow, method=method, training=settings, block_size=BLOCK, bf16=bf16)
    )
    print(f"{training}, bf16 {bf16}: planned {planned.peak / 2**20:.0f} MiB, allocated {peaks[-1] / 2**20:.0f} MiB")
    assert planned.peak == pytest.approx(peaks[-1], rel=0.1)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
@pytest.mark.parametrize("spread", [False, True])
def test_two_gpus_train_what_one_trains(spread: bool, base: Path, tmp_path: Path) -> None:
    target, options = options_of(base, tmp_path, **{"training.bf16": False})
    fsdp = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"} if spread else {}
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    found = []
    for name, words, accumulation, env in (("one", [], 2, {}), ("two", launcher, 1, fsdp)):
        more = options | {"training.gradient_accumulation_steps": accumulation}
        command = [sys.executable, *words, "-m", "expunge", "forget", str(target), "--out", str(tmp_path / name)]
        seen = os.environ | env | ({} if words else {"CUDA_VISIBLE_DEVICES": "0"})
        subprocess.run([*command, *as_options(more)], env=seen, capture_output=True)
        found.append(load_file(tmp_path / name / "model/model.safetensors"))
    for key, value in found[0].items():
        torch.testing.assert_close(found[1][key], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))
