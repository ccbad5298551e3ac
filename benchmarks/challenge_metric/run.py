"""Seconds of the challenge's epsilons by sorted counts against the definition, threshold by threshold, in one run.

Three ways of the same figures on one thread, in processor seconds:

- expunge: `expunge.measures.privacy.challenge.epsilons`;
- one_by_one: the definition, one threshold (or interval) at a time, over all models at once with numpy;
- row_by_row: the definition with the 400 left ends of a right end at once, a (models, 400) matrix.

    python benchmarks/challenge_metric/run.py [--models 64] [--examples 100] [--slow-examples 2] [--out result.json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import numpy as np  # noqa: E402  (after the threads are set)

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "measures" / "privacy"))
import challenge_definition as definition  # noqa: E402

from expunge.measures.privacy.challenge import default_bins, epsilons, forgetting_quality  # noqa: E402
from expunge.runs.versions import versions  # noqa: E402


def timed(function: Callable[[], np.ndarray], rounds: int) -> tuple[float, np.ndarray]:
    """Least processor seconds of some rounds, and what came out: other work on the machine is not counted."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        found = function()
        seconds.append(time.process_time() - start)
    return min(seconds), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=64)
    parser.add_argument("--examples", type=int, default=100)
    parser.add_argument("--slow-examples", type=int, default=2, help="examples of one_by_one, seconds each")
    parser.add_argument("--shift", type=float, default=0.5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    n, examples = arguments.models, arguments.examples
    slow = min(arguments.slow_examples, examples)

    generator = np.random.default_rng(0)
    scale = generator.uniform(0.5, 3, (examples, 1))
    unlearned = arguments.shift * scale + scale * generator.normal(size=(examples, n))
    retrained = scale * generator.standard_t(5, (examples, n))

    def by_definition(count: int, slowly: bool) -> np.ndarray:
        return np.array([definition.epsilon(unlearned[k], retrained[k], slowly) for k in range(count)])

    epsilons(unlearned[:2], retrained[:2])  # the table of epsilons is made once
    fast, ours = timed(lambda: epsilons(unlearned, retrained), rounds=5)
    rows, by_row = timed(lambda: by_definition(examples, False), rounds=1)
    ones, by_one = timed(lambda: by_definition(slow, True), rounds=1)
    bins = default_bins(n)
    result = {
        "models": [n, n],
        "examples": examples,
        "threads": 1,
        "expunge_seconds": round(fast, 4),
        "row_by_row_seconds": round(rows, 2),
        "one_by_one_seconds": round(ones, 2),
        "one_by_one_examples": slow,
        "times_faster_than_row_by_row": round(rows / fast, 1),
        "times_faster_than_one_by_one": round(ones / slow * examples / fast, 1),
        "largest_difference_of_epsilon": float(max(np.abs(ours - by_row).max(), np.abs(ours[:slow] - by_one).max())),
        "forgetting_quality": forgetting_quality(ours, bins),
        "forgetting_quality_by_definition": definition.forgetting_quality(by_row.tolist(), n),
        "cores": os.cpu_count(),
        "versions": versions(),
    }
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
