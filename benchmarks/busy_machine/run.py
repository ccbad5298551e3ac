"""A run beside another process that keeps a core busy: `python benchmarks/busy_machine/run.py [--seconds 20]`.

Trains and samples with a small Llama in processes of their own, with the ways in which threads can wait: as OpenMP
does by default (spinning), for some rounds, not at all, and on one thread; on a quiet machine, and
beside one process that never sleeps. Prints tokens a second, and how often a busy machine takes the quiet time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

SETTINGS: dict[str, dict[str, str]] = {
    "spinning (OpenMP's default)": {},
    "1,000 rounds (the command line's)": {"GOMP_SPINCOUNT": "1000"},
    "asleep": {"GOMP_SPINCOUNT": "0"},
    "10,000 rounds": {"GOMP_SPINCOUNT": "10000"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


def child(seconds: float) -> None:
    """Train and sample for so long each; prints tokens a second of both."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(  # the starter model's shape, with four of its thirty layers
        hidden_size=576,
        intermediate_size=1536,
        num_attention_heads=9,
        num_key_value_heads=3,
        num_hidden_layers=4,
        vocab_size=8192,
    )
    model = LlamaForCausalLM(config)
    ids = torch.randint(0, 8192, (4, 64), generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> int:
        model(ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return ids.numel()

    @torch.no_grad()
    def sample() -> int:
        model.generate(ids[:, :16], max_new_tokens=32, min_new_tokens=32, do_sample=False, pad_token_id=0)
        return 4 * 32

    found = {}
    for name, work in (("training", step), ("sampling", sample)):
        work()
        start, tokens = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            tokens += work()
        found[name] = tokens / (time.monotonic() - start)
    print(json.dumps(found))


def measure(settings: dict[str, str], seconds: float, busy: bool) -> dict[str, float]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_", "KMP_", "MKL_"))}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        words = [sys.executable, __file__, "--child", "--seconds", str(seconds)]
        done = subprocess.run(words, env=clean | settings, capture_output=True, text=True, check=True)
    finally:
        if other is not None:
            other.kill()
            other.wait()
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--child", action="store_true")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    given = parser.parse_args()
    if given.child:
        child(given.seconds)
        return
    results = {}
    print(f"{'threads wait':<38} {'':<9} {'quiet':>9} {'busy':>9}  times the quiet time")
    for name, settings in SETTINGS.items():
        quiet, busy = (measure(settings, given.seconds, each) for each in (False, True))
        results[name] = {"quiet": quiet, "busy": busy}
        for work in quiet:
            ratio = quiet[work] / busy[work]
            print(f"{name:<38} {work:<9} {quiet[work]:>7.1f}/s {busy[work]:>7.1f}/s  {ratio:.2f}", flush=True)
    given.out.write_text(json.dumps({"seconds": given.seconds, "tokens a second": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
