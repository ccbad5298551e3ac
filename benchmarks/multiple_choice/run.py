"""Time Expunge's multiple-choice scorer beside lm-evaluation-harness: same process, model, type, rows and threads.

    python benchmarks/multiple_choice/run.py --model MODEL --data FOLDER [--benchmark arc_easy] [--rows 120]

Both get the same (context, continuation) pairs as text and return log-probabilities, so tokenization is in the time of
both. The harness runs at the fastest of several batch sizes, found on a part of the rows; Expunge at its default. Runs
alternate. What differs between the two sets of log-probabilities is measured too.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.kinds.language.measures.benchmarks import BENCHMARKS, Question, load_questions
from expunge.kinds.language.measures.multiple_choice import choice_log_probs, score

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
"tried for the harness"


def harness(lm: HFLM, questions: Sequence[Question]) -> list[tuple[float, ...]]:
    pairs = [pair for question in questions for pair in question.choices()]
    requests = [Instance("loglikelihood", {}, pair, i) for i, pair in enumerate(pairs)]
    answers = iter(lm.loglikelihood(requests, disable_tqdm=True))
    return [tuple(next(answers)[0] for _ in question.choices()) for question in questions]


def timed(function: Callable[[], Any]) -> tuple[float, float, Any]:
    """(seconds, processor seconds, result)"""
    start, start_processor = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - start, time.process_time() - start_processor, result


def faster(seconds: dict[str, list[float]]) -> float:
    """The median over rounds of the harness' time by Expunge's."""
    return statistics.median(b / a for a, b in zip(seconds["expunge"], seconds["lm_eval"], strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="folder or hub id of a causal language model")
    parser.add_argument("--data", required=True, type=Path, help="folder of benchmark files")
    parser.add_argument("--benchmark", default="arc_easy", choices=list(BENCHMARKS))
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("result.json"))
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    questions = load_questions(options.benchmark, options.data, options.rows)

    part = questions[:: max(1, len(questions) // 16)]
    harnesses = {
        size: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=size, device=str(model.device))
        for size in BATCH_SIZES
    }
    harness(harnesses[1], part[:2])  # first-use allocations are no one's cost
    choice_log_probs(model, tokenizer, part[:2])
    tried = {size: timed(lambda lm=lm: harness(lm, part))[0] for size, lm in harnesses.items()}
    batch_size = min(tried, key=lambda size: tried[size])

    seconds: dict[str, list[float]] = {"expunge": [], "lm_eval": []}
    processor: dict[str, list[float]] = {"expunge": [], "lm_eval": []}
    for number in range(options.rounds):
        taken, busy, ours = timed(lambda: choice_log_probs(model, tokenizer, questions))
        seconds["expunge"].append(taken)
        processor["expunge"].append(busy)
        taken, busy, theirs = timed(lambda: harness(harnesses[batch_size], questions))
        seconds["lm_eval"].append(taken)
        processor["lm_eval"].append(busy)
        print(f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.1f} s" for k, v in seconds.items()), file=sys.stderr)

    medians = {name: statistics.median(values) for name, values in seconds.items()}
    result = {
        "benchmark": options.benchmark,
        "rows": len(questions),
        "choices": sum(len(values) for values in ours),
        "times_faster": round(faster(seconds), 2),
        "times_less_processor_time": round(faster(processor), 2),
        "seconds": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
        "processor_seconds": {name: [round(value, 2) for value in values] for name, values in processor.items()},
        "questions_per_second": {name: round(len(questions) / value, 2) for name, value in medians.items()},
        "largest_difference_in_log_probability": float(
            np.abs(np.concatenate(ours) - np.concatenate(theirs)).max().round(7)
        ),
        "accuracy": {
            name: {
                found.measure: round(found.value, 4) for found in score(options.benchmark, questions, values, "base")
            }
            for name, values in (("expunge", ours), ("lm_eval", theirs))
        },
        "lm_eval_batch_size": batch_size,
        "lm_eval_seconds_by_batch_size": {str(size): round(value, 2) for size, value in tried.items()},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "dtype": "float32",
        "threads": options.threads,
        "machine": platform.machine(),
        "versions": {name: version(name) for name in ("torch", "transformers", "lm-eval")},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
