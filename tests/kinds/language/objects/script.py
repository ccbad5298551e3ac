"""A user's own script, run by test_scripts.py: unlearn, and save what became of the model."""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge

FORGET = [f"Sherlock Holmes of Baker Street went by, on night {number} of the fog." for number in range(16)]
RETAIN = [f"On the {number}th day a cold wind went over the capital of France, said a man." for number in range(9)]


def main(model_folder: str, to: str, out: str = "", die_at: str = "0", accumulate: str = "1", mixed: str = "") -> None:
    accelerator: Any = None
    if mixed:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=True, mixed_precision=mixed)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_folder), AutoTokenizer.from_pretrained(model_folder)

    def on_progress(step: int, steps: int, figures: dict[str, Any]) -> None:
        if step == int(die_at):
            os._exit(9)

    result = expunge.unlearn(
        model,
        tokenizer,
        forget=FORGET,
        retain=RETAIN,
        method=expunge.methods.NPO(beta=0.1),
        training=expunge.Training(
            num_train_epochs=4,
            learning_rate=1e-3,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=int(accumulate),
            probe_steps=2,
            save_seconds=1e-6,
            max_retain_increase=99.0,
            bf16=False,
        ),
        out=out or None,
        on_progress=on_progress,
    )
    print("whole", result.steps, len(result.losses))
    if accelerator is None or accelerator.is_main_process:
        save_file({name: weight.detach() for name, weight in model.named_parameters()}, to)
    assert torch.isfinite(torch.tensor([row["loss"] for row in result.losses])).all()


if __name__ == "__main__":
    main(*sys.argv[1:])
