"""Tokens a second of the unlearning loop against a plain loop that calls `model(input_ids, labels=...)`.

Both take the same batches of the same text on the same machine, step by step in turns, each in a process of its own (what
one asks of the allocator does not serve the other). Also how far the gradients of either lie from those in float64.

    python benchmarks/loop_speed/run.py --text BOOK.txt [--model smollm2-135m] [--block 512] [--batch 4] [--steps 3]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from contextlib import nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from expunge.data.text.readers import read_documents
from expunge.kinds.language.blocks import iterate_blocks
from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.sets import true_labels
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.token_dataset import TableWriter, TokenTable
from expunge.models.source import find_model, load_model
from expunge.runs.versions import versions
from expunge.train.precision import Precision

SIDES = ("plain", "expunge")


def serve(side: str, name: str, folder: str, connection: Connection) -> None:
    """Make the steps that are asked for; answers each with its seconds."""
    table = TokenTable(Path(folder))
    if side == "expunge":
        task = LazyModel(find_model(name), Precision("auto"))()
        model: Any = task.model
    else:
        model = load_model(find_model(name)).model
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-9, fused=side == "expunge")
    while (rows := connection.recv()) is not None:
        batch = table.batch(rows)
        start = time.perf_counter()
        if side == "expunge":
            task.nll(batch).backward()
        else:
            model(input_ids=batch.ids, labels=batch.labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        connection.send(time.perf_counter() - start)


def gradient_errors(name: str, table: TokenTable) -> dict[str, float]:
    """By side: the largest error of a weight's gradient in float32, relative to its size in float64."""
    loaded = load_model(find_model(name))
    model, batch = loaded.model.train(), table.batch(range(1))
    exact = CausalLM(model, loaded.tokenizer, nullcontext)

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        loss.backward()
        return {key: p.grad.double() for key, p in model.named_parameters() if p.grad is not None}

    found = {
        "expunge": gradients(exact.nll(batch)),
        "plain": gradients(model(input_ids=batch.ids, labels=batch.labels).loss),
    }
    model.double()
    logits = model(input_ids=batch.ids).logits[:, :-1].flatten(0, 1)
    true = gradients(torch.nn.functional.cross_entropy(logits, batch.labels[:, 1:].flatten()))  # in float64 throughout
    return {
        side: max(float((values[key] - true[key]).norm() / true[key].norm().clamp_min(1e-12)) for key in true)
        for side, values in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    tokenizer = LazyModel(find_model(arguments.model), Precision("auto")).tokenizer
    wanted = arguments.batch * (arguments.steps + 1)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        with TableWriter(Path(folder)) as writer:
            blocks = iterate_blocks(read_documents(arguments.text), tokenizer, arguments.block)
            for _, block in zip(range(wanted), blocks, strict=False):
                writer.append(block.ids, true_labels(block))
        table = TokenTable(Path(folder))
        batches = [range(i, i + arguments.batch) for i in range(0, wanted, arguments.batch)]
        errors = gradient_errors(arguments.model, table)
        seconds: dict[str, list[float]] = {side: [] for side in SIDES}
        sides = {}
        for side in SIDES:
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(side, arguments.model, folder, theirs), daemon=True).start()
            sides[side] = ours
        for batch in batches:
            for side, connection in sides.items():
                connection.send(batch)
                seconds[side].append(connection.recv())
        for connection in sides.values():
            connection.send(None)
        tokens = sum(int(table.batch(batch).lengths.sum()) for batch in batches[1:])
    rates = {side: tokens / sum(taken[1:]) for side, taken in seconds.items()}  # the first step warms up
    result = {
        "model": arguments.model,
        "block": arguments.block,
        "batch": arguments.batch,
        "tokens": tokens,
        "threads": torch.get_num_threads(),
        "bf16": Precision("auto").bf16,
        "plain_tokens_per_second": round(rates["plain"], 1),
        "expunge_tokens_per_second": round(rates["expunge"], 1),
        "ratio": round(rates["expunge"] / rates["plain"], 2),
        "seconds_by_step": {side: [round(value, 2) for value in taken] for side, taken in seconds.items()},
        "largest_relative_gradient_error_float32": errors,
        "versions": versions(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
