"""Predicted against measured seconds of training: `python benchmarks/plan/seconds.py [CASE ...]`, a case by its number in
`CASES`, from 0. See README.md beside it.

Both are seconds of the processor, on one thread: other work on the machine takes none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from run import CHECKPOINTING, LORA, configuration, method_of

BATCH, STEPS = 4, 12
"blocks of a batch, and steps of a training"
Case = tuple[str, str, int, dict[str, Any], bool]
CASES: list[Case] = [
    ("11 M", "gradient_difference", 128, {}, False),
    ("11 M", "gradient_difference", 256, {}, True),
    ("11 M", "fine_tune", 128, {}, False),
    ("11 M", "gradient_difference", 128, LORA, False),
    ("11 M", "gradient_difference", 128, CHECKPOINTING, False),
    ("43 M", "gradient_difference", 128, {}, False),
    ("43 M", "simnpo", 128, LORA, True),
    ("gpt2, 38 M", "gradient_difference", 128, {}, False),
]
"(model, method, block, other fields of training, bfloat16)"


def compared(config: Any, case: Case) -> tuple[float, float]:
    """(seconds of all steps as planned after a measured step, the mean of before and after; seconds that training took)."""
    import torch

    torch.set_num_threads(1)
    import numpy as np
    from transformers import AutoModelForCausalLM

    from expunge.kinds.language.plan import depth, rate
    from expunge.kinds.language.plan.devices import this_machine
    from expunge.kinds.language.plan.step import Setting
    from expunge.kinds.language.recipe import Training
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.task import CausalLM
    from expunge.kinds.language.token_dataset import TableWriter, TokenTable
    from expunge.models.language_kind import LanguageKind
    from expunge.train.precision import Precision

    _, method_name, block, fields, bf16 = case
    settings = {
        "per_device_train_batch_size": BATCH,
        "num_train_epochs": 1000,
        "max_retain_increase": 1e9,
        "bf16": bf16,
    }
    training, method = Training(max_steps=STEPS, **settings, **fields), method_of(method_name)
    kind = LanguageKind("AutoModelForCausalLM", config)
    setting = Setting(model=kind, narrow=None, method=method, training=training, block_size=block, bf16=bf16)
    rate.perf_counter = time.process_time

    def planned() -> float:
        device, taken = rate.with_speed(this_machine(), setting), depth.of_training(setting).numbers
        assert device.speed is not None
        return STEPS * (taken["flops"] / device.speed + taken["trained"] * device.update)

    before = planned()
    with tempfile.TemporaryDirectory() as place:
        with TableWriter(Path(place) / "table") as table:
            for row in range(BATCH * STEPS):
                ids = np.random.default_rng(row).integers(3, 200, block).tolist()
                table.append(ids, [-100, *ids[1:]])
        data = TokenTable(Path(place) / "table")
        work = LanguageWork(
            task=CausalLM(AutoModelForCausalLM.from_config(config).eval(), None, Precision(bf16).autocast),
            forget=data,
            retain=data,
            training=training,
            seed=0,
            checkpoints=Path(place) / "checkpoints",
            log=lambda event, **values: None,
        )
        begun = time.process_time()
        work.carry_out(method)
        took = time.process_time() - begun
    return (before + planned()) / 2, took


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "one":
        case = CASES[int(sys.argv[2])]
        print(json.dumps(compared(configuration(case[0]), case)))
        return
    print("| model | method | block | other settings | predicted | measured | of it |")
    print("|---|---|---|---|---|---|---|")
    env = os.environ | {"ACCELERATE_USE_CPU": "true"}
    for number in [int(each) for each in sys.argv[1:]] or range(len(CASES)):
        model, method, block, fields, bf16 = CASES[number]
        done = subprocess.run([sys.executable, __file__, "one", str(number)], stdout=-1, check=True, env=env)
        said, took = json.loads(done.stdout.splitlines()[-1])
        others = [*(f"{key} {value}" for key, value in fields.items()), *(["bfloat16"] if bf16 else [])]
        shown = f"{model} | {method} | {block} | {', '.join(others)} | {said:.1f} s | {took:.1f} s | {said / took:.2f}"
        print(f"| {shown} |", flush=True)


if __name__ == "__main__":
    main()
