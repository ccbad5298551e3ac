"""Predicted against measured peak memory of training: `python benchmarks/plan/run.py [CASE ...]`, a case by its number in
`CASES`, from 0. See README.md beside it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import Any

MODELS = {
    "11 M": {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 8, "vocab_size": 16384},
    "43 M": {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 10, "vocab_size": 16384},
    "gpt2, 38 M": {"n_embd": 512, "n_head": 8, "n_layer": 6, "vocab_size": 32768, "n_positions": 512},
    "135 M": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152},
}
"configurations: Llama's with as many heads as 64 wide ones make, and GPT-2's"
LORA = {"adapter_rank": 16}
CHECKPOINTING = {"gradient_checkpointing": True}
NARROW, IN_8_BITS = {"weight_dtype": "bfloat16"}, {"optim": "adamw_bnb_8bit"}
BASE_IN_8_BITS = {"quantization": "8bit"}
BASE_IN_4_BITS = {"quantization": "4bit"}
Case = tuple[str, str, int, int, dict[str, Any], bool]
CASES: list[Case] = [
    ("11 M", "gradient_difference", 4, 128, {}, False),
    ("11 M", "gradient_difference", 8, 256, {}, False),
    ("11 M", "gradient_difference", 8, 256, CHECKPOINTING, False),
    ("11 M", "gradient_difference", 8, 256, LORA, False),
    ("11 M", "fine_tune", 2, 128, {}, True),
    ("43 M", "gradient_difference", 4, 128, {}, False),
    ("43 M", "gradient_difference", 4, 128, LORA | CHECKPOINTING, False),
    ("43 M", "gradient_difference", 2, 128, {"gradient_accumulation_steps": 2}, False),
    ("43 M", "npo", 2, 128, {}, True),
    ("gpt2, 38 M", "gradient_difference", 4, 128, {}, False),
    ("gpt2, 38 M", "simnpo", 4, 128, LORA, False),
    ("135 M", "gradient_difference", 2, 128, {}, False),
    ("135 M", "gradient_difference", 2, 128, CHECKPOINTING, False),
    ("135 M", "gradient_difference", 2, 128, LORA, False),
    ("11 M", "gradient_difference", 4, 128, NARROW, False),
    ("11 M", "npo", 4, 128, NARROW | CHECKPOINTING, False),
    ("11 M", "fine_tune", 2, 128, NARROW, True),
    ("43 M", "gradient_difference", 2, 128, NARROW, False),
    ("43 M", "simnpo", 2, 128, NARROW | IN_8_BITS | CHECKPOINTING, False),
    ("gpt2, 38 M", "gradient_difference", 2, 128, NARROW | IN_8_BITS, False),
    ("135 M", "gradient_difference", 1, 128, NARROW | CHECKPOINTING, False),
    ("135 M", "gradient_difference", 1, 128, NARROW, False),
    ("11 M", "gradient_difference", 4, 128, LORA | BASE_IN_8_BITS, False),
    ("11 M", "simnpo", 2, 128, LORA | BASE_IN_8_BITS | CHECKPOINTING, False),
    ("43 M", "gradient_difference", 2, 128, LORA | BASE_IN_8_BITS, False),
    ("11 M", "gradient_difference", 4, 128, LORA | BASE_IN_4_BITS, False),
    ("43 M", "simnpo", 2, 128, LORA | BASE_IN_4_BITS | CHECKPOINTING, False),
]
"(model, method, batch, block, other fields of training, bfloat16)"
STEPS = 2
"the second is the first that finds moments there"


def configuration(name: str) -> Any:
    from transformers import GPT2Config, LlamaConfig

    fields = MODELS[name]
    if "n_embd" in fields:
        return GPT2Config(**fields)
    heads = fields["hidden_size"] // 64
    shared = heads // (3 if heads % 2 else 2)  # query heads are a multiple of them
    return LlamaConfig(**fields, num_attention_heads=heads, num_key_value_heads=shared, tie_word_embeddings=True)


def method_of(name: str) -> Any:
    from expunge.runs.registry import make_method

    return make_method({"name": name}, "causal_lm")


def predicted(case: Case) -> int:
    """Bytes, as `expunge plan` says."""
    import torch

    from expunge.kinds.language.plan import depth
    from expunge.kinds.language.plan.step import Setting
    from expunge.kinds.language.recipe import Training
    from expunge.models.language_kind import LanguageKind

    model, method, batch, block, fields, bf16 = case
    setting = Setting(
        model=LanguageKind("AutoModelForCausalLM", configuration(model)),
        narrow=torch.bfloat16,
        method=method_of(method),
        training=Training(per_device_train_batch_size=batch, **fields),
        block_size=block,
        bf16=bf16,
    )
    taken = depth.of_training(setting)
    # An adapter is merged in float32 in the end, as the stage `saving` of a plan has it.
    weights = depth.of_looking(setting).numbers["weights"]  # those of a base in 4 bits are packed in a step
    return max(taken.peak, 4 * weights if setting.adapted else 0)


def measured(case: Case) -> dict[str, int]:
    """Bytes, at most, from before the model is built to the end of the second step.

    `allocated`: what torch's allocator had given out, by torch's own profiler, which sees the kernels' scratch, too.
    `resident`: what the process grew by, and so with what glibc does not give back.
    """
    import numpy as np
    import torch
    from torch.autograd.profiler import profile
    from transformers import AutoModelForCausalLM

    from expunge.core.memory import keep_freed_memory, resident_bytes
    from expunge.kinds.language.layers.decoder import find_decoder
    from expunge.kinds.language.narrow_training import weight_type
    from expunge.kinds.language.recipe import Training
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.task import CausalLM
    from expunge.kinds.language.token_dataset import TableWriter, TokenTable
    from expunge.ops.narrow import hold_narrow
    from expunge.ops.quantised import hold_quantised, linear_below

    name, method_name, batch, block, fields, bf16 = case
    training = Training(
        per_device_train_batch_size=batch, max_steps=STEPS, num_train_epochs=9, max_retain_increase=1e9, **fields
    )
    method = method_of(method_name)

    def context() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=bf16)

    def work(config: Any, table: TokenTable, folder: Path) -> None:
        adapted = training.adapter_rank is not None
        narrow = adapted or weight_type(training) != torch.float32
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16 if narrow else torch.float32).eval()
        if narrow:
            ids = torch.zeros(1, 4, dtype=torch.long)

            def run() -> None:
                model(input_ids=ids, use_cache=False)

            held = hold_narrow(model, run, trained=None if adapted else weight_type(training))
            if training.bits is not None:
                layers = find_decoder(model, run).prefix
                hold_quantised(linear_below(model, held, layers), training.bits, torch.device("cpu"))

        def originals() -> Any:
            return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)

        session = LanguageWork(
            task=CausalLM(model, None, context),
            forget=table,
            retain=table,
            training=training,
            seed=0,
            checkpoints=folder,
            log=lambda event, **values: None,
            originals=originals if training.bits is not None else None,
        )
        session.carry_out(method)

    with tempfile.TemporaryDirectory() as place:
        tables = {}
        for width in (16, block):
            with TableWriter(Path(place) / str(width)) as table:
                for row in range(2 * batch * STEPS):
                    ids = np.random.default_rng(row).integers(3, 200, width).tolist()
                    table.append(ids, [-100, *ids[1:]])
            tables[width] = TokenTable(Path(place) / str(width))
            if method_name == "npo":
                tables[width] = tables[width].with_signal("reference_nll", lambda rows: torch.full((len(rows),), 100.0))
        small = configuration(name)
        small.num_hidden_layers = 1
        small.vocab_size = 512
        if not hasattr(small, "n_embd"):
            small.hidden_size = 64 * small.num_attention_heads
        work(small, tables[16], Path(place) / "small")  # what is imported and set up only once is no part of it
        keep_freed_memory()
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
        before = resident_bytes()
        work(configuration(name), tables[block], Path(place) / "work")
        status = Path("/proc/self/status").read_text()
        with profile(profile_memory=True, use_kineto=True) as profiled:
            work(configuration(name), tables[block], Path(place) / "again")
    events = [each for each in profiled.kineto_results.events() if each.name() == "[memory]"]
    sizes = [each.nbytes() for each in sorted(events, key=lambda each: each.start_ns())]
    resident = int(status.split("VmHWM:")[1].split()[0]) * 1024 - before
    return {"allocated": max(accumulate(sizes)), "resident": resident}


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] in ("predicted", "measured"):
        case = CASES[int(sys.argv[2])]
        print(json.dumps(predicted(case) if sys.argv[1] == "predicted" else measured(case)))
        return
    print("| model | method | batch | block | other settings | predicted | allocated | of it | resident | of it |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    chosen = [int(each) for each in sys.argv[1:]] or range(len(CASES))
    for number in chosen:
        model, method, batch, block, fields, bf16 = CASES[number]
        said, found = (
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, what, str(number)], stdout=-1, check=True
                ).stdout.splitlines()[-1]
            )
            for what in ("predicted", "measured")
        )
        others = [*(f"{key} {value}" for key, value in fields.items()), *(["bfloat16"] if bf16 else [])]
        sizes = " | ".join(f"{size / 2**20:,.0f} MiB | {said / size:.3f}" for size in found.values())
        shown = f"{model} | {method} | {batch} | {block} | {', '.join(others)} | {said / 2**20:,.0f} MiB | {sizes}"
        print(f"| {shown} |", flush=True)


if __name__ == "__main__":
    main()
