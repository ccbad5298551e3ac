"""Tokens a second of the unlearning loop against a plain loop that calls `model(input_ids, labels=...)`.

Both take the same batches of the same text on the same machine, in turns, in one process. Also the largest relative
difference of their gradients in float32.

    python benchmarks/loop_speed/run.py --text BOOK.txt [--model smollm2-135m] [--block 512] [--batch 4] [--steps 3]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import torch

from expunge.data.blocks import iterate_blocks
from expunge.data.readers import read_documents
from expunge.data.sets import true_labels
from expunge.data.tables import TableWriter, TokenTable
from expunge.engine.precision import Precision
from expunge.evidence.record import versions
from expunge.models.source import find_model, load_model
from expunge.tasks.base import Batch
from expunge.tasks.causal_lm import CausalLM


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    loaded = load_model(find_model(arguments.model))
    model = loaded.model.train()
    wanted = arguments.batch * (arguments.steps + 1)
    with tempfile.TemporaryDirectory() as folder:
        with TableWriter(Path(folder)) as writer:
            for number, block in enumerate(
                iterate_blocks(read_documents(arguments.text), loaded.tokenizer, arguments.block)
            ):
                if number == wanted:
                    break
                writer.append(block.ids, true_labels(block))
        table = TokenTable(Path(folder))
        batches = [table.batch(range(i, i + arguments.batch)) for i in range(0, wanted, arguments.batch)]
    precision = Precision("auto")
    ours = CausalLM(model, loaded.tokenizer, precision.autocast)
    exact = CausalLM(model, loaded.tokenizer, nullcontext)
    optimizers = {
        "plain": torch.optim.AdamW(model.parameters(), lr=1e-9),
        "expunge": torch.optim.AdamW(model.parameters(), lr=1e-9, fused=True),
    }

    def plain_step(batch: Batch) -> None:
        model(input_ids=batch.ids, labels=batch.labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers["plain"].step()
        model.zero_grad()

    def our_step(batch: Batch) -> None:
        ours.nll(batch).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers["expunge"].step()
        model.zero_grad()

    model(input_ids=batches[0].ids, labels=batches[0].labels).loss.backward()
    expected = gradients(model)
    model.zero_grad()
    exact.nll(batches[0]).backward()
    found = gradients(model)
    model.zero_grad()
    difference = max(
        float((found[name] - expected[name]).norm() / expected[name].norm().clamp_min(1e-12)) for name in expected
    )

    seconds = {"plain": 0.0, "expunge": 0.0}
    steps = {"plain": plain_step, "expunge": our_step}
    for step in steps.values():
        step(batches[0])  # warm up
    for batch in batches[1:]:
        for name, step in steps.items():
            start = time.perf_counter()
            step(batch)
            seconds[name] += time.perf_counter() - start
    tokens = sum(int(batch.lengths.sum()) for batch in batches[1:])
    result = {
        "model": arguments.model,
        "block": arguments.block,
        "batch": arguments.batch,
        "tokens": tokens,
        "threads": torch.get_num_threads(),
        "bf16": precision.bf16,
        "plain_tokens_per_second": round(tokens / seconds["plain"], 1),
        "expunge_tokens_per_second": round(tokens / seconds["expunge"], 1),
        "ratio": round(seconds["plain"] / seconds["expunge"], 2),
        "largest_relative_gradient_difference_float32": difference,
        "versions": versions(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
