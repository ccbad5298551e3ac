"""Time batched sampling beside unbatched `generate`: same process, model, prompts, settings and threads, in turns.

    python benchmarks/generation/run.py --model MODEL --prompts FILE [--prompt-rows 32] [--samples 10]

FILE holds JSON lines in the layout of RealToxicityPrompts. `generate` continues one prompt at a time, once a sample, and
runs both in float32 and under bfloat16 autocast; what is reported is the faster of both. It gets only some of the prompts
(`--slow-rows`), since all take long; tokens a second are what is compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from expunge.kinds.language.lazy import LazyModel
from expunge.kinds.language.sampling import continue_prompts
from expunge.kinds.language.task import CausalLM
from expunge.kinds.language.texts import Sampling
from expunge.models.source import find_model
from expunge.train.precision import Precision


def unbatched(task: CausalLM, prompts: list[list[int]], options: argparse.Namespace, bf16: bool) -> int:
    """Tokens made by `generate`, a prompt and a sample at a time."""
    made = 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
        for prompt in prompts:
            for _ in range(options.slow_samples):
                ids = torch.tensor([prompt])
                output = task.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=True,
                    temperature=1.0,
                    top_k=0,
                    top_p=options.top_p,
                    max_new_tokens=options.max_new_tokens,
                    pad_token_id=task.tokenizer.eos_token_id,
                )
                made += output.shape[1] - len(prompt)
    return made


def batched(task: CausalLM, prompts: list[list[int]], options: argparse.Namespace) -> int:
    sampling = Sampling(samples=options.samples, top_p=options.top_p)
    texts = continue_prompts(task, prompts, options.max_new_tokens, sampling, rows=options.rows)
    return sum(text.tokens for of_prompt in texts for text in of_prompt)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--prompts", required=True, type=Path)
    parser.add_argument("--prompt-rows", type=int, default=32)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--slow-rows", type=int, default=2)
    parser.add_argument("--slow-samples", type=int, default=2)
    parser.add_argument("--max-new-tokens", type=int, default=20)
    parser.add_argument("--top-p", type=float, default=0.9)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    precision = Precision()
    task = LazyModel(find_model(options.model), precision)()
    with open(options.prompts, encoding="utf-8") as file:
        texts = [json.loads(line)["prompt"]["text"] for line in file]
    prompts = [task.encode_prompt(text) for text in texts[: options.prompt_rows]]

    ways: dict[str, Any] = {
        "batched": lambda: batched(task, prompts, options),
        "generate_float32": lambda: unbatched(task, prompts[: options.slow_rows], options, False),
        "generate_bfloat16": lambda: unbatched(task, prompts[: options.slow_rows], options, True),
    }
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(options.rounds):
        for name, way in ways.items():
            start = time.process_time()
            rates[name].append(way() / (time.process_time() - start))
        print(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f}" for k, v in rates.items()), file=sys.stderr)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    result = {
        "model": options.model,
        "times_faster": round(medians["batched"] / max(medians["generate_float32"], medians["generate_bfloat16"]), 2),
        "tokens_a_processor_second": {name: round(value, 1) for name, value in medians.items()},
        "prompts": len(prompts),
        "samples": options.samples,
        "max_new_tokens": options.max_new_tokens,
        "top_p": options.top_p,
        "rows": options.rows,
        "bf16": precision.bf16,
        "threads": options.threads,
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
