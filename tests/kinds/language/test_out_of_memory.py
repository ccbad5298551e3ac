"""Memory that runs out: what is said, and that the run resumes with less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import expunge
from expunge.core.memory import out_of_memory
from expunge.errors import RunError
from expunge.methods.gradient_difference import GradientDifference
from expunge.runs.folder import RunFolder
from expunge.train.step import Loss, Step
from small import SMALL, write_texts


def forget(model: Path, folder: Path, name: str, **more: Any) -> RunFolder:
    target, retain = write_texts(folder)
    options = SMALL | {"retain": str(retain), "model": str(model), "method": "gradient_difference"}
    few = {"training.save_seconds": 1e-6, "training.probe_steps": 1, "training.num_train_epochs": 3}
    return expunge.forget(str(target), out=folder / name, **options | few | more)


def test_a_gpu_that_is_full_is_said_and_the_run_resumes_with_less(
    tiny_model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = forget(tiny_model_folder, tmp_path, "whole")
    own, calls = GradientDifference.loss, []

    def full(self: GradientDifference, step: Step) -> Loss:
        calls.append(step)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nAnd more")
        return own(self, step)

    monkeypatch.setattr(GradientDifference, "loss", full)
    with pytest.raises(RunError, match="the GPU is out of memory") as caught:
        forget(tiny_model_folder, tmp_path, "run")
    assert caught.value.seen == "CUDA out of memory. Tried to allocate 20.00 GiB."
    assert "--training.gradient_checkpointing true" in str(caught.value)
    monkeypatch.undo()
    run = forget(tiny_model_folder, tmp_path, "run", **{"training.gradient_checkpointing": True})
    assert [row["step"] for row in run.read_events("resumed")] == [2]
    weights, others = (each.model / "model.safetensors" for each in (whole, run))
    assert weights.read_bytes() == others.read_bytes()


def test_other_errors_are_left_as_they_are() -> None:
    assert out_of_memory(RuntimeError("a shape")) is None
    assert "the machine" in str(out_of_memory(MemoryError()))
    assert "the machine" in str(
        out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    )
