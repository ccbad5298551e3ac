"""Tokens a second of training: one process with all cores against several with a share of them each, in turns.

    python benchmarks/processes/run.py --text BOOK.txt [--model smollm2-135m] [--processes 2] [--steps 6] [--turns 3]

All of a model's weights are trained on blocks of 128 tokens, four to a process and step; one process accumulates as many
batches. On a machine that has other work to do the figures say nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BLOCK, BATCH = 128, 4


def train(model: str, text: Path, steps: int, accumulate: int, place: Path) -> float | None:
    """Tokens a second of all processes, after two steps; None on all but the first."""
    from expunge.core.processes import is_first, rank
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

    base = LazyModel(find_model(model), Precision(False))
    folder = place / str(rank())
    folder.mkdir()
    with TableWriter(folder / "table") as writer:
        for number, block in enumerate(iterate_blocks(read_documents(str(text)), base.tokenizer, BLOCK)):
            if number == 64:
                break
            writer.append(block.ids, true_labels(block))
    speeds: list[float] = []
    training = Training(
        per_device_train_batch_size=BATCH, gradient_accumulation_steps=accumulate, max_steps=steps, num_train_epochs=100,
        probe_steps=10**6, save_seconds=1e9, learning_rate=1e-6, bf16=False,
    )  # fmt: skip

    def log(event: str, **values: Any) -> None:
        if event == "step":
            speeds.append(values["tokens_per_second"])

    work = LanguageWork(
        task=base.to_train(), forget=TokenTable(folder / "table"), retain=None, training=training, seed=0,
        checkpoints=folder / "checkpoints", log=log,
    )  # fmt: skip
    work.carry_out(make_method({"name": "gradient_ascent"}))
    return statistics.median(speeds[2:]) if is_first() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--accumulate", type=int, help="(in a process that this script started)")
    parser.add_argument("--place", type=Path)
    given = parser.parse_args()
    if given.place is not None:
        speed = train(given.model, given.text, given.steps, given.accumulate, given.place)
        if speed is not None:
            (given.place / "speed").write_text(json.dumps(speed))
        return
    cores = len(os.sched_getaffinity(0))
    launcher = ["-m", "torch.distributed.run", f"--nproc_per_node={given.processes}", "--standalone"]
    speeds: dict[int, list[float]] = {1: [], given.processes: []}
    for _ in range(given.turns):
        for processes, words in ((1, []), (given.processes, launcher)):
            with tempfile.TemporaryDirectory() as place:
                subprocess.run(
                    [sys.executable, *words, __file__, "--text", str(given.text), "--model", given.model,
                     "--steps", str(given.steps), "--accumulate", str(given.processes // processes), "--place", place],
                    check=True, capture_output=True,
                    env=os.environ | {"OMP_NUM_THREADS": str(cores // processes), "ACCELERATE_USE_CPU": "true"},
                )  # fmt: skip
                speeds[processes].append(json.loads((Path(place) / "speed").read_text()))
        told = {n: [round(each, 1) for each in values] for n, values in speeds.items()}
        ratios = [many / one for one, many in zip(speeds[1], speeds[given.processes], strict=True)]
        print(f"tokens/s by processes {told}, ratio {statistics.median(ratios):.2f}", flush=True)


if __name__ == "__main__":
    main()
