"""Predicted and measured memory of training a model whose weights are spread over processes (FSDP2), on processors.

    python benchmarks/plan/spread.py [--processes 2]

The model has 137 million weights of random values. What was measured is the most main memory that the first process held,
less what it held before it trained: a copy of the model, which stays whole beside its part.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTH, LAYERS, VOCABULARY, BLOCK = 1024, 10, 4000, 128
TRAINING: dict[str, Any] = {
    "gradient_checkpointing": True,
    "per_device_train_batch_size": 2,
    "max_steps": 4,
    "max_retain_increase": 1e9,
    "bf16": False,
}


def configuration() -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=2816, num_hidden_layers=LAYERS,
        num_attention_heads=16, tie_word_embeddings=False,
    )  # fmt: skip


def predicted(processes: int) -> int:
    """Bytes on one device."""
    from expunge.kinds.language.plan.step import Setting, training_step
    from expunge.kinds.language.recipe import Training
    from expunge.models.language_kind import LanguageKind
    from expunge.runs.registry import make_method

    setting = Setting(
        model=LanguageKind("AutoModelForCausalLM", configuration()), narrow=None,
        method=make_method({"name": "gradient_difference"}), training=Training(**TRAINING), block_size=BLOCK, bf16=False,
        processes=processes, fsdp="shard",
    )  # fmt: skip
    return training_step(setting).peak


def measured(folder: Path) -> int:
    """Bytes, on this process of several."""
    import torch
    from transformers import LlamaForCausalLM

    from expunge.core.memory import give_back_freed_memory, peak_memory_bytes, resident_bytes
    from expunge.core.processes import rank
    from expunge.kinds.language.recipe import Training
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.task import CausalLM
    from expunge.kinds.language.token_dataset import TableWriter, TokenTable
    from expunge.runs.registry import make_method
    from expunge.train.precision import found_device

    found_device()
    torch.manual_seed(0)
    model = LlamaForCausalLM(configuration()).eval()
    place = folder / str(rank())
    place.mkdir()
    with TableWriter(place / "table") as writer:
        for _ in range(16):
            ids = torch.randint(VOCABULARY, (BLOCK,)).tolist()
            writer.append(ids, [-100, *ids[1:]])
    table = TokenTable(place / "table")
    work = LanguageWork(
        task=CausalLM(model, None), forget=table, retain=table, training=Training(**TRAINING), seed=0,  # type: ignore[arg-type]
        checkpoints=place / "checkpoints", log=lambda *_, **__: None,
    )  # fmt: skip
    give_back_freed_memory()
    before = resident_bytes()
    work.carry_out(make_method({"name": "gradient_difference"}))
    return peak_memory_bytes() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="(in a process that this script started)")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        found = measured(arguments.folder)
        if os.environ["RANK"] == "0":
            (arguments.folder / "found").write_text(str(found))
        return
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(
            [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={arguments.processes}", "--standalone",
             __file__, "--folder", place],
            check=True, capture_output=True,
            env=os.environ | {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        found = int((Path(place) / "found").read_text())
    said = predicted(arguments.processes)
    print(f"{arguments.processes} processes: predicted {said / 2**20:,.0f} MiB, measured {found / 2**20:,.0f} MiB, "
          f"off by {said / found - 1:+.1%}")  # fmt: skip


if __name__ == "__main__":
    main()
