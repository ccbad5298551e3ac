"""What it buys to compute the original's features once, and never to run the decoder: seconds a step, same gradients.

    python benchmarks/scrubbing_speed/run.py [--model mae-small] [--steps 12] [--threads 1] [--out result.json]

One step of encoder scrubbing on random pictures, twice: as `encoder_scrubbing` does it, and as it is done where the frozen
original and the student are both run in full, on every batch. Weights are random: they change no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.kinds.classifier.task import Pictures
from expunge.kinds.generator.corruption import Corruption
from expunge.kinds.generator.model import NEW, new_generator
from expunge.kinds.generator.session import GeneratorWork
from expunge.kinds.generator.task import CorruptedBatch
from expunge.ops.feature_losses import squared

ALPHA = 0.25


def pictures(count: int, side: int, seed: int) -> Pictures:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    return Pictures(pixels=pixels, labels=torch.zeros(count, dtype=torch.int64))


def in_full(work: GeneratorWork, kept: CorruptedBatch, lost: CorruptedBatch, noise: Tensor, keys: Tensor) -> Tensor:
    """The loss with the original and the student run from end to end by transformers, as a live reference model is."""
    shown, hidden = work.original.corrupted(noise, keys)
    with torch.no_grad():
        stays = whole(work.original.model, kept.shown, kept.hidden)
        goes = whole(work.original.model, shown, hidden)
    ours, theirs = whole(work.model, kept.shown, kept.hidden), whole(work.model, lost.shown, lost.hidden)
    return squared(ours, stays) + ALPHA * squared(theirs, goes)


def whole(model: Any, shown: Tensor, hidden: Tensor) -> Tensor:
    """Features of the encoder, from a pass through the whole network; the shown patches keep their order."""
    order = hidden.float() + torch.arange(hidden.shape[1]) / (2 * hidden.shape[1])
    out = model(pixel_values=shown, noise=order, output_hidden_states=True)
    features: Tensor = model.vit.layernorm(out.hidden_states[-1])
    return features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mae-small", choices=NEW)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6, help="over which what is computed once is spread")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    count = given.batch
    work = GeneratorWork(
        task=new_generator(given.model, given.side, Corruption("random-patches"), 0),
        retain=pictures(count, given.side, 1),
        forget=pictures(count, given.side, 2),
        seed=0,
    )
    with torch.no_grad():  # off its start, where the retain loss and its gradient are 0
        for weight in work.encoder():
            weight += 0.01 * torch.randn(weight.shape)
    keys, lost_keys, rows = work.keys(count, "retain"), work.keys(count, "forget"), torch.arange(count)
    start = time.perf_counter()
    target = work.original_features(work.retain, keys)
    noise_target = work.noise_features(work.forget, lost_keys, "normal", "target")
    once = time.perf_counter() - start
    noise = work._noise(work.forget, "normal", "target")[0][1]

    def batches(targets: bool) -> tuple[CorruptedBatch, CorruptedBatch]:
        kept = work.task.batch(work.retain, rows, keys=keys, target=target if targets else None)
        return kept, work.task.batch(work.forget, rows, keys=lost_keys, target=noise_target if targets else None)

    def quick() -> Tensor:
        kept, lost = batches(True)
        ours, theirs = work.task.features_of(kept, lost)
        return squared(ours, work.target_of(kept)) + ALPHA * squared(theirs, work.target_of(lost))

    def slow() -> Tensor:
        return in_full(work, *batches(False), noise, lost_keys)

    seconds: dict[str, list[float]] = {"quick": [], "full": []}
    gradients: dict[str, list[Tensor]] = {}
    for _ in range(given.steps):  # in turn, so that a busy machine is as busy for both
        for name, loss in (("quick", quick), ("full", slow)):
            start = time.perf_counter()
            gradients[name] = list(torch.autograd.grad(loss(), work.encoder()))
            seconds[name].append(time.perf_counter() - start)
    largest = max(float((a - b).abs().max()) for a, b in zip(gradients["quick"], gradients["full"], strict=True))
    scale = max(float(b.abs().max()) for b in gradients["full"])
    quick_step, full_step = statistics.median(seconds["quick"]), statistics.median(seconds["full"])
    spread = quick_step + once / given.epochs  # each picture's features serve once an epoch
    result = {
        "model": given.model,
        "side": given.side,
        "batch": given.batch,
        "threads": given.threads,
        "seconds_a_step": {"features kept": quick_step, "both in full": full_step},
        "seconds_once": once,
        "times_faster": full_step / quick_step,
        "times_faster_with_what_is_computed_once": full_step / spread,
        "largest_difference_of_gradients": largest / scale,
    }
    print(json.dumps(result, indent=2))
    if given.out:
        given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
