"""Peak memory and speed of training, the same text with different options, each in a process of its own.

    python benchmarks/memory/run.py --text BOOK.txt [--model smollm2-135m | --layers 24 --width 1280] [--steps 4]

Peak memory is the most that the process held at once (`ru_maxrss`), libraries included; `libraries` is what it held before
the model was loaded. The model is stored in bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK = 512
SETTINGS: dict[str, dict[str, Any]] = {
    "full float32": {},
    "full float32, gradient checkpointing": {"gradient_checkpointing": True},
    "LoRA": {"adapter_rank": 16},
    "LoRA, gradient checkpointing": {"adapter_rank": 16, "gradient_checkpointing": True},
    "LoRA, gradient checkpointing, 4-bit base": {
        "adapter_rank": 16,
        "gradient_checkpointing": True,
        "quantization": "4bit",
    },
}


def store(model: str, layers: int | None, width: int, folder: Path) -> None:
    """Save a model in bfloat16: a named one, or one of random weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from expunge.models.source import find_model, load_model

    loaded = load_model(find_model(model))
    network = loaded.model
    if layers is not None:
        config = LlamaConfig(
            vocab_size=network.config.vocab_size, hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, num_key_value_heads=max(1, width // 256), tie_word_embeddings=True,
            eos_token_id=network.config.eos_token_id,
        )  # fmt: skip
        network = LlamaForCausalLM(config)
    network.to(torch.bfloat16).save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)


def train(folder: Path, text: Path, settings: dict[str, Any], steps: int) -> dict[str, float]:
    """Train for some steps; what it took."""
    from expunge.core.memory import peak_memory_bytes
    from expunge.data.text.readers import read_documents
    from expunge.kinds.language.blocks import iterate_blocks
    from expunge.kinds.language.lazy import LazyModel
    from expunge.kinds.language.recipe import Training
    from expunge.kinds.language.session import LanguageWork
    from expunge.kinds.language.sets import true_labels
    from expunge.kinds.language.token_dataset import TableWriter, TokenTable
    from expunge.models.source import find_model
    from expunge.runs.registry import make_method
    from expunge.train.precision import Precision

    with tempfile.TemporaryDirectory() as place:
        base = LazyModel(find_model(str(folder)), Precision("auto"))
        with TableWriter(Path(place) / "table") as writer:
            blocks = iterate_blocks(read_documents(str(text)), base.tokenizer, BLOCK)
            for _, block in zip(range(steps), blocks, strict=False):
                writer.append(block.ids, true_labels(block))
        seconds: list[float] = []
        libraries = peak_memory_bytes()

        def log(event: str, **values: Any) -> None:
            if event == "step":
                seconds.append(values["seconds"])

        training = Training(
            per_device_train_batch_size=1,
            num_train_epochs=1,
            save_seconds=1e9,
            probe_steps=10**6,
            learning_rate=1e-5,
            **settings,
        )
        task = base.under_adapter(training.bits) if training.adapter_rank else base.to_train()
        work = LanguageWork(
            task=task, forget=TokenTable(Path(place) / "table"), retain=None, training=training, seed=0,
            checkpoints=Path(place) / "checkpoints", log=log, originals=base.originals,
        )  # fmt: skip
        peaks: list[int] = []
        work.on_progress = lambda step, steps, figures: peaks.append(peak_memory_bytes())
        work.carry_out(make_method({"name": "gradient_ascent"}))
    return {
        "libraries_gib": libraries / 2**30,
        "training_gib": peaks[-1] / 2**30,
        "peak_gib": peak_memory_bytes() / 2**30,
        "tokens_per_second": BLOCK * (steps - 1) / sum(seconds[1:]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--only", help="(one setting, or `store`, in a process that this script started)")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.only == "store":
        store(arguments.model, arguments.layers, arguments.width, arguments.folder)
        return
    if arguments.only is not None:
        print(json.dumps(train(arguments.folder, arguments.text, SETTINGS[arguments.only], arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        words = [sys.executable, __file__, "--text", str(arguments.text), "--steps", str(arguments.steps)]
        words += ["--model", arguments.model, "--width", str(arguments.width), "--folder", str(folder)]
        words += [] if arguments.layers is None else ["--layers", str(arguments.layers)]
        subprocess.run([*words, "--only", "store"], check=True, capture_output=True)
        found = {}
        for name in SETTINGS:
            done = subprocess.run(
                [*words, "--only", name],
                capture_output=True,
                text=True,
                check=True,
                env=os.environ | {"TOKENIZERS_PARALLELISM": "false"},
            )
            found[name] = json.loads(done.stdout.splitlines()[-1])
            whole = found["full float32"]
            found[name]["share_of_peak"] = found[name]["training_gib"] / whole["training_gib"]
            found[name]["speed_ratio"] = found[name]["tokens_per_second"] / whole["tokens_per_second"]
            print(f"{name:<40}" + "  ".join(f"{key} {value:.2f}" for key, value in found[name].items()), flush=True)


if __name__ == "__main__":
    main()
